import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from arcmix import checked, files
from arcmix.ledger import form, records
from arcmix.ledger.records import Row
from tests.rows import row, start_of


def test_a_row_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = [row("train", 1), row("train", 0), row("combo-v2", 0, loss=0.1)]
    paths = [records.write(tmp_path, entry) for entry in written]
    assert records.read(tmp_path) == [written[2], written[1], written[0]]
    assert paths[0] == tmp_path / "train" / f"1-{written[0].fingerprint}.json"


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    first = records.write(tmp_path / "a", row())
    again = records.write(tmp_path / "b", row())
    assert first.read_bytes() == again.read_bytes()


def test_add_changes_no_other_row(tmp_path: Path) -> None:
    assert records.add(tmp_path, row(seed=0)) is None
    assert records.add(tmp_path, row(seed=0, variant=1, loss=0.5)) is None
    assert {entry.metrics["best_val_loss"] for entry in records.read(tmp_path)} == {0.5, 0.7}


def test_add_keeps_a_row_with_other_numbers_and_returns_it(tmp_path: Path) -> None:
    kept = row(loss=0.5426)
    records.add(tmp_path, kept)
    assert records.add(tmp_path, row(loss=0.5462, instructions="AVX2")) == kept
    assert records.read(tmp_path) == [kept]


def test_add_keeps_the_bytes_of_a_row_with_equal_numbers(tmp_path: Path) -> None:
    records.add(tmp_path, row())
    [path] = tmp_path.rglob("*.json")
    before = path.read_bytes()
    assert records.add(tmp_path, row(device="another")) is None
    assert path.read_bytes() == before


def test_add_names_a_damaged_row_in_its_place(tmp_path: Path) -> None:
    path = records.write(tmp_path, row())
    path.write_text("{")
    with pytest.raises(ValueError, match=rf"{path.name}: not valid JSON: .*; remove the file and"):
        records.add(tmp_path, row())


def test_write_follows_no_link_out_of_the_ledger(tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "ledger/combo-v2").symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match=r"combo-v2: leads out of the ledger, to .*/outside; "):
        records.add(tmp_path / "ledger", row())
    assert not [*(tmp_path / "outside").iterdir()]


def test_a_ledger_without_rows_is_empty(tmp_path: Path) -> None:
    assert records.read(tmp_path) == []


def test_write_refuses_a_row_without_a_metric_of_the_table(tmp_path: Path) -> None:
    metrics = {name: 0.5 for name in records.METRICS if name != "pass_n"}
    with pytest.raises(ValueError, match=re.escape("has no metric ['pass_n'], got ['accuracy'")):
        records.write(tmp_path, replace(row(), metrics=metrics))
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("values", [[], {"dataset": "combo-v2"}, {"version": records.VERSION}])
def test_read_names_a_file_that_is_not_a_row(tmp_path: Path, values: object) -> None:
    path = records.write(tmp_path, row())
    files.write_json(path, values)
    with pytest.raises(
        ValueError,
        match=rf"{path.name}: .*(not a row of the ledger|dictionary), got .*remove the file",
    ):
        records.read(tmp_path)


def test_read_refuses_a_row_of_this_version_that_lacks_a_field(tmp_path: Path) -> None:
    path = records.write(tmp_path, row())
    values = files.read_json(path)
    values["more"] = values.pop("mix")
    files.write_json(path, values)
    with pytest.raises(
        ValueError, match=rf"{path.name}: mix: Field required \(and 1 more\); remove"
    ):
        records.read(tmp_path)


@pytest.mark.parametrize("version", [None, 1, records.VERSION + 1])
def test_rows_of_another_version_are_left_out_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, version: int | None
) -> None:
    kept = row(seed=2)
    paths = [records.write(tmp_path, entry) for entry in (row(seed=0), row(seed=1), kept)]
    for path in paths[:2]:
        values = files.read_json(path)
        del values["version"], values["mix"]
        files.write_json(path, values | ({} if version is None else {"version": version}))
    assert records.read(tmp_path) == [kept]
    (message,) = caplog.messages
    assert message.startswith("left out 2 rows whose format has another version than")
    assert f"first {paths[0]}; remove the file and repeat its run" in message


def test_read_refuses_a_row_at_the_path_of_another(tmp_path: Path) -> None:
    path = records.write(tmp_path, row(seed=0))
    path.rename(path.with_name(path.name.replace("0-", "1-", 1)))
    with pytest.raises(ValueError, match=r"1-.*holds the row of .*/0-"):
        records.read(tmp_path)


def change(values: dict[str, Any], place: str, value: object) -> None:
    """Set a value in a row's file."""
    *steps, last = place.split("/")
    node: Any = values
    for step in steps:
        node = node[int(step) if isinstance(node, list) else step]
    node[int(last) if isinstance(node, list) else last] = value


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("metrics/accuracy", "0.5", "metrics, accuracy: Input should be a valid number, got '0.5'"),
        ("metrics/accuracy", None, "metrics, accuracy: Input should be a valid number, got None"),
        ("metrics/a|b", 0.5, "String should match pattern"),
        ("seed", -1, "seed: Input should be greater than or equal to 0, got -1"),
        ("seed", 0.0, "seed: Input should be a valid integer, got 0.0"),
        ("seed", True, "seed: Input should be a valid integer, got True"),
        ("dataset", "a|b", "dataset: String should match pattern"),
        ("dataset", "<!-- end -->", "dataset: String should match pattern"),
        ("dataset", "=cmd|'/c calc'!A0", "dataset: String should match pattern"),
        ("dataset", "../outside", "dataset: String should match pattern"),
        ("model", "# Heading", "model: String should match pattern"),
        ("scale", "<script>", "scale: String should match pattern"),
        ("scale", "$\\frac{1}{0}$", "scale: String should match pattern"),
        ("settings/measure/part", "val|x", "settings, measure, part: String should match"),
        ("settings", [], "settings: Input should be a dictionary"),
        ("start/adapter", "../x/0-1", "start"),
        ("start/adapter", "folder <b>", "start"),
        ("adapter", "../../x/tree.dir", "adapter: String should match pattern"),
        ("adapter", "0123.dir", "adapter: String should match pattern"),
        ("code", "c0de", "code: String should match pattern"),
        ("history", [], "history: List should have at least 1 item"),
        ("history/0/step", "0", "history, 0, step: Input should be a valid integer, got '0'"),
        ("tasks", [], "tasks: Input should be a valid dictionary"),
        ("machines", {}, "machines: Dictionary should have at least 1 item"),
        ("machines/finetune/device", "<b>", "machines, finetune, device: String should"),
        ("mix/tasks", 0, "mix, tasks: Input should be greater than or equal to 1, got 0"),
        ("settings/augment/color_swaps", 9, "settings_fingerprint is "),
        ("components/0/weight", 9, "fingerprint is .*, but the values of the row have .*; values"),
        ("mix/components/0/digest", "f" * 64, "fingerprint is "),
        ("start", start_of("re-arc/0-0123456789ab"), "fingerprint is "),
    ],
)
def test_read_refuses_a_wrong_value(
    tmp_path: Path, place: str, value: object, message: str
) -> None:
    path = records.write(tmp_path, row())
    values = files.read_json(path)
    change(values, place, value)
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=f"{path.name}: .*{message}.*remove the file"):
        records.read(tmp_path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-1e999"])
def test_read_refuses_numbers_that_are_not_finite(tmp_path: Path, number: str) -> None:
    path = records.write(tmp_path, row(accuracy=0.0625))
    path.write_text(path.read_text().replace("0.0625", number))
    with pytest.raises(ValueError, match=r"not valid JSON: the number .* is not finite; remove"):
        records.read(tmp_path)


def test_read_refuses_a_huge_file(tmp_path: Path) -> None:
    path = records.write(tmp_path, row())
    with path.open("a") as file:
        file.truncate(checked.LARGEST + 1)
    with pytest.raises(ValueError, match=r"has 16777217 bytes, at most 16777216 are allowed; rem"):
        records.read(tmp_path)


def test_the_form_of_a_row_has_its_fields() -> None:
    form_fields = {field.name for field in fields(form.Form)}
    assert form_fields == {field.name for field in fields(Row)} | {"version"}


def test_fingerprint_ignores_the_order_of_keys() -> None:
    first = records.fingerprint({"a": 1, "b": [2]}, "x")
    assert records.fingerprint({"b": [2], "a": 1}, "x") == first
    assert records.fingerprint({"b": [2], "a": 1}, "y") != first
    assert re.fullmatch("[0-9a-f]{12}", first)
