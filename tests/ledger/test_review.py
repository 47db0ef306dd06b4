import dataclasses
import json

from arcmix.ledger import records, review
from arcmix.ledger.provenance import Problem
from arcmix.ledger.records import Row
from arcmix.ledger.review import Ledger
from tests.rows import row

CODE = "c0de00000001"


def text(one: Row) -> str:
    return json.dumps({"version": records.VERSION} | dataclasses.asdict(one))


def ledger(base: list[Row], head: list[Row]) -> Ledger:
    sides = [{f"{one.name}.json": text(one) for one in rows} for rows in (base, head)]
    return Ledger(*sides, folder="ledger", code=CODE)


def test_rows_of_the_base_that_stay_are_no_problem() -> None:
    assert review.kept(ledger([row()], [row(), row(seed=1)])) == []


def test_an_edited_row_is_named_with_its_values() -> None:
    edited = dataclasses.replace(row(), adapter=f"{'e' * 32}.dir")
    [found] = review.kept(ledger([row()], [edited]))
    assert found == Problem(
        f"ledger/{row().name}.json",
        f"the row was edited: adapter was {row().adapter}, is {'e' * 32}.dir; a row is never"
        " changed, so restore it",
    )


def test_a_deleted_row_is_named_unless_other_code_made_it() -> None:
    old = row(code="0fe000000000")
    assert review.kept(ledger([row(), old], [])) == [
        Problem(
            f"ledger/{row().name}.json",
            "the row was deleted; the table needs it, so restore it",
        )
    ]


def test_a_row_with_the_losses_of_another_seed_is_a_copy() -> None:
    first, second = row(), row(seed=1)
    present = {
        "datasets": {"combo-v2": {"combo-v2": {"tasks": "combo-v2"}}},
        "models": {"smollm2-135m": {"kind": "smollm2-135m"}},
        "scales": {"quick": {}},
    }
    texts = [one.text for one in review.added(ledger([first], [first, second]), present, None)]
    assert (
        f"has the losses of {first.name}.json with other seed: one is a copy of the other" in texts
    )
    other = row(seed=1, loss=0.75)
    texts = [one.text for one in review.added(ledger([first], [first, other]), present, None)]
    assert not any("copy" in text for text in texts)


def test_a_row_of_other_code_or_of_an_unknown_dataset_is_named() -> None:
    present = {"datasets": {}, "models": {"smollm2-135m": {}}, "scales": {"quick": {}}}
    new = row(code="0fe000000000")
    texts = [one.text for one in review.added(ledger([], [new]), present, None)]
    assert texts[0].startswith(
        "was made by the code 0fe000000000, and the commit has c0de00000001;"
    )
    assert "params.yaml has no datasets.combo-v2; add what the run was made with" in texts


def test_the_table_and_its_copy_are_those_of_the_rows() -> None:
    assert review.table({"a.md": "x\ny\n"}, {"a.md": "x\ny\n"}) == []
    assert review.table({"a.md": "x\nz\n"}, {"a.md": "x\ny\n"}) == [
        Problem("a.md", "is not the table of the rows: line 2 differs; run: make repro")
    ]
    assert review.readme("page", "<!-- table -->\nx\n<!-- end -->", "x\n") == []
    assert review.readme("page", "<!-- table -->\ny\n<!-- end -->", "x\n") == [
        Problem("page", "the table in it is not the committed one; run: make readme")
    ]
