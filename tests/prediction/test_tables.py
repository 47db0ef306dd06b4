import re
from pathlib import Path

import pandas as pd
import pytest

from arcmix import files
from arcmix.prediction import tables

COLUMNS = ("task", "test", "view", "logprob")
TESTS = [("b", 0), ("00000001", 0), ("00000001", 1)]
ROWS = [("b", 0, 0, -1.0), ("00000001", 1, 0, -2.0), ("00000001", 1, 1, float("nan"))]


def read(folder: Path, rows: list[tuple], columns: tuple[str, ...] = COLUMNS) -> list[dict]:
    files.write_parquet(folder / "table", pd.DataFrame(rows, columns=[*columns]))
    return tables.read_rows(folder / "table", COLUMNS, COLUMNS[:3], TESTS)


def test_rows_are_read_in_their_order_with_nan_as_none(tmp_path: Path) -> None:
    found = read(tmp_path, ROWS)
    assert [tuple(row.values()) for row in found] == [*ROWS[:2], ("00000001", 1, 1, None)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param(
            [*ROWS, ("c", 0, 0, -1.0), ("b", 1, 0, -1.0)],
            "table: ('b', 1) is not a validation task and one of its tests, nor are 1 others;"
            " the file belongs to another run, so repeat the stage that writes it",
            id="another-test",
        ),
        pytest.param(
            [*ROWS, (*ROWS[1][:3], -9.0)],
            "table: 1 of ('task', 'test', 'view') have more than one row, first ('00000001', 1, 0)",
            id="twice",
        ),
    ],
)
def test_a_row_of_another_test_or_with_repeated_keys_is_refused(
    tmp_path: Path, rows: list[tuple], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read(tmp_path, rows)


def test_a_table_without_a_column_is_refused(tmp_path: Path) -> None:
    rows = [row[:3] for row in ROWS]
    message = "table: has no column ['logprob'], got ['task', 'test', 'view']; it must have"
    with pytest.raises(ValueError, match=re.escape(message)):
        read(tmp_path, rows, COLUMNS[:3])


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf")])
def test_a_missing_number_is_not_finite(value: float | None) -> None:
    assert not tables.finite(value)
    assert tables.finite(-0.5)
