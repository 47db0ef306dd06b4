import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from arcmix import checked, files
from arcmix.prediction import tables

TESTS = [("b", 0), ("00000001", 0), ("00000001", 1)]
ROWS = [("b", 0, 0, -1.0), ("00000001", 1, 0, -2.0), ("00000001", 1, 1, -3.0)]


@checked.STRICT
@dataclass(frozen=True)
class Row:
    task: checked.TaskId
    test: checked.Count
    view: checked.Count
    logprob: checked.Number


def read(folder: Path, rows: list[tuple]) -> list[Row]:
    columns = ["task", "test", "view", "logprob"]
    files.write_parquet(folder / "table", pd.DataFrame(rows, columns=columns))
    return tables.read_rows(folder / "table", Row, ("task", "test", "view"), TESTS, "run it again")


def test_rows_are_read_in_their_order(tmp_path: Path) -> None:
    assert read(tmp_path, ROWS) == [Row(*row) for row in ROWS]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param(
            [*ROWS, ("c", 0, 0, -1.0), ("b", 1, 0, -1.0)],
            "table: ('b', 1) is not a validation task and one of its tests, nor are 1 others;"
            " the file belongs to another run; run it again",
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
