from typing import Any

import pytest

from arcmix.ledger import differences
from arcmix.ledger.records import Row
from tests.arc import component
from tests.rows import plain_settings, row, sealed, start_of


def chosen(**settings: Any) -> Row:
    return sealed(row(), settings=plain_settings(**settings))


def scaled(**finetune: Any) -> dict[str, Any]:
    prompt = {"format": "bare", "encoder": ["minimal"]}
    return {"prompt": prompt, "finetune": finetune}


def test_a_single_row_differs_in_nothing() -> None:
    assert differences.of_settings([row()]) == [""]
    assert differences.of_runs([row()]) == [""]


def test_values_have_the_names_of_the_command_line() -> None:
    rows = [
        chosen(selection="vote_count", scale=scaled(learning_rate=0.02, dtype="float32")),
        chosen(selection="product", scale=scaled(learning_rate=0.001, dtype="float32")),
    ]
    assert [{*text.split(", ")} for text in differences.of_settings(rows)] == [
        {"selection=vote_count", "finetune.learning_rate=0.02"},
        {"selection=product", "finetune.learning_rate=0.001"},
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (None, "null"),
        ([1, "a"], "[1, a]"),
        ("1" * 40, "1111111"),
        ("x" * 41, "x" * 37 + "..."),
        ("|<b>`", "??b??"),
    ],
)
def test_a_value_is_plain_text(value: object, text: str) -> None:
    (found, _) = differences.of_settings([chosen(augment={"a": value}), chosen(augment={"a": 0})])
    assert found == f"augment.a={text}"


def test_a_name_is_plain_text() -> None:
    assert differences.of_settings([chosen(**{"<b>|": 1}), chosen(**{"<b>|": 2})]) == [
        "?b??=1",
        "?b??=2",
    ]


def test_a_value_that_a_row_does_not_have_is_not_named() -> None:
    rows = [chosen(selection="vote", extra=1), chosen(selection="product")]
    assert differences.of_settings(rows) == ["selection=vote", "selection=product"]


def test_only_some_of_many_values_are_named_and_the_texts_still_differ() -> None:
    def many(number: int) -> Row:
        values = {f"v{place}": place < 8 or number for place in range(9)}
        return chosen(augment={name: [value, min(number, 1)] for name, value in values.items()})

    texts = differences.of_settings([many(number) for number in range(3)])
    assert len({*texts}) == 3
    assert texts[0].count("augment.v") == differences.LIMIT
    assert ", 3 more" in texts[0]
    assert ", settings=" in texts[0]


def test_equal_values_with_other_tasks_are_told_apart_by_a_hash() -> None:
    rows = [chosen(validation_digest=digit * 64) for digit in "ab"]
    expected = ["validation_digest=aaaaaaa", "validation_digest=bbbbbbb"]
    assert differences.of_settings(rows) == expected


def test_runs_name_their_tables_their_data_and_their_code() -> None:
    first = row()
    drawn = {**first.mix["components"][0], "table": "train"}
    other = sealed(
        first,
        components=[*first.components, component("train")],
        mix={**first.mix, "components": [*first.mix["components"], drawn]},
    )
    assert differences.of_runs([first, other]) == [
        "tables=[combo-v2]",
        "tables=[combo-v2, train]",
    ]
    assert differences.of_runs([row(), row(variant=1)]) == [
        "data of combo-v2=0000000, run=" + row().fingerprint[:7],
        "data of combo-v2=0000000, run=" + row(variant=1).fingerprint[:7],
    ]
    assert differences.of_runs([row(), row(code="0fe000000000")]) == [
        "code=c0de000",
        "code=0fe0000",
    ]


def test_runs_name_the_part_of_the_start_that_differs() -> None:
    start = start_of("re-arc/0-0123456789ab")
    rows = [sealed(row(), start=start | {"checkpoint": name}) for name in ("best", "last")]
    assert differences.of_runs(rows) == ["init.checkpoint=best", "init.checkpoint=last"]
