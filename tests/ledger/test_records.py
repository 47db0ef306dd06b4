import re
from dataclasses import replace
from pathlib import Path

import pytest

from arcmix import files
from arcmix.ledger import records
from tests.rows import row


def test_a_row_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = [row("train", 1), row("train", 0), row("combo-v2", 0, loss=0.1)]
    paths = [records.write(tmp_path, entry) for entry in written]
    assert records.read(tmp_path) == [written[2], written[1], written[0]]
    assert paths[0] == tmp_path / "train" / f"1-{written[0].fingerprint}.json"


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    first = records.write(tmp_path / "a", row())
    again = records.write(tmp_path / "b", row())
    assert first.read_bytes() == again.read_bytes()


def test_write_changes_no_other_row(tmp_path: Path) -> None:
    records.write(tmp_path, row(seed=0))
    records.write(tmp_path, row(seed=0, variant=1))
    records.write(tmp_path, row(seed=0, loss=0.5))
    assert {entry.metrics["best_val_loss"] for entry in records.read(tmp_path)} == {0.5, 0.7}


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
        ValueError, match=rf"{path.name}: not a row of the ledger, got .*; .* remove the file"
    ):
        records.read(tmp_path)


def test_read_refuses_a_row_of_this_version_that_lacks_a_field(tmp_path: Path) -> None:
    path = records.write(tmp_path, row())
    values = files.read_json(path)
    values["more"] = values.pop("mix")
    files.write_json(path, values)
    with pytest.raises(ValueError, match=rf"{path.name}: .* \['mix'\] and .* \['more'\]; remove"):
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


def test_fingerprint_ignores_the_order_of_keys() -> None:
    first = records.fingerprint({"a": 1, "b": [2]}, "x")
    assert records.fingerprint({"b": [2], "a": 1}, "x") == first
    assert records.fingerprint({"b": [2], "a": 1}, "y") != first
    assert re.fullmatch("[0-9a-f]{12}", first)
