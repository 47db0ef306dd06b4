import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arcmix import checked, files


@checked.STRICT
@dataclass(frozen=True)
class Row:
    task: checked.TaskId
    count: checked.Count
    loss: checked.Number | None


def csv(folder: Path, text: str) -> list[Row]:
    (folder / "table.csv").write_bytes(text.encode("latin-1"))
    return checked.read_csv(folder / "table.csv", Row, "run it again")


def parquet(folder: Path, **columns: object) -> list[Row]:
    whole = {"task": ["a", "b"], "count": [1, 2], "loss": [0.5, None]} | columns
    kept = {name: values for name, values in whole.items() if values is not None}
    files.write_parquet(folder / "table.parquet", pd.DataFrame(kept))
    return checked.read_parquet(folder / "table.parquet", Row, "run it again")


def test_a_csv_file_keeps_ids_numbers_and_empty_cells(tmp_path: Path) -> None:
    found = csv(tmp_path, "task,count,loss\n00576224,2,\n12e45678,1,0.123457\n")
    assert found == [Row("00576224", 2, None), Row("12e45678", 1, 0.123457)]
    assert csv(tmp_path, "loss,more,task,count\n0.5,x,a,1\n") == [Row("a", 1, 0.5)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the columns ['task', 'count', 'loss'] are missing or occur twice, got []; the"),
        ("task,count\na,1\n", "the columns ['loss'] are missing or occur twice, got ['task',"),
        ("task,count,loss,task\n", "the columns ['task'] are missing or occur twice"),
        ("task,count,loss\na,1\n", "row 0 has not one cell for each column; run"),
        ("task,count,loss\na,1,2,3\n", "row 0 has not one cell for each column"),
        ("task,count,loss\na,1.5,\n", "row 0, count: Input should be a valid integer, unable"),
        ("task,count,loss\na,-1,\n", "row 0, count: Input should be greater than or equal to 0"),
        ("task,count,loss\na,1,\nb,1,nan\n", "row 1, loss: Input should be a finite number"),
        ("task,count,loss\na,1,-inf\n", "row 0, loss: Input should be a finite number"),
        ("task,count,loss\na,1,1e300\n", "row 0, loss: Input should be less than or equal to"),
        ("task,count,loss\n,1,\n", "row 0, task: Input should be a valid string, got None"),
        ("task,count,loss\n../a,1,\n", "row 0, task: String should match pattern"),
        ('task,count,loss\n"a,1,\n', "not a readable CSV file: unexpected end of data; run"),
        ("task,count,loss\n\xff,1,\n", "not a readable text file: 'utf-8' codec can't decode"),
    ],
)
def test_a_damaged_csv_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"table\.csv: {re.escape(message)}.*it again"):
        csv(tmp_path, text)


def test_a_parquet_table_is_read_without_other_columns(tmp_path: Path) -> None:
    assert parquet(tmp_path, more=["x", "y"]) == [Row("a", 1, 0.5), Row("b", 2, None)]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"loss": None}, "the columns ['loss'] are missing or occur twice, got ['task', 'count']"),
        ({"count": [1.0, 2.0]}, "row 0, count: Input should be a valid integer, got 1.0"),
        ({"count": ["1", "2"]}, "row 0, count: Input should be a valid integer, got '1'"),
        ({"count": [1, -2]}, "row 1, count: Input should be greater than or equal to 0, got -2"),
        ({"count": [True, False]}, "row 0, count: Input should be a valid integer, got True"),
        ({"loss": [0.5, float("inf")]}, "row 1, loss: Input should be a finite number, got inf"),
        ({"loss": [[0.5], [0.5]]}, "row 0, loss: Input should be a valid number, got [0.5]"),
        ({"task": ["a", None]}, "row 1, task: Input should be a valid string, got None"),
        ({"task": [1, 2]}, "row 0, task: Input should be a valid string, got 1"),
    ],
)
def test_a_damaged_parquet_table_is_refused(
    tmp_path: Path, columns: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=rf"parquet: {re.escape(message)}.*it again"):
        parquet(tmp_path, **columns)


@pytest.mark.parametrize("cut", [0, 3, 100, -1])
def test_a_truncated_parquet_table_is_refused(tmp_path: Path, cut: int) -> None:
    parquet(tmp_path)
    path = tmp_path / "table.parquet"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"not a readable Parquet table: .*run it again"):
        checked.read_parquet(path, Row, "run it again")


def test_texts_of_a_parquet_table_are_checked_before_they_are_read(tmp_path: Path) -> None:
    texts = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")]
    )
    table = pa.table({"task": texts, "count": [1], "loss": [0.5]})
    pq.write_table(table, tmp_path / "table.parquet")
    with pytest.raises(ValueError, match=r"not a readable Parquet table: .*UTF8.*run it again"):
        checked.read_parquet(tmp_path / "table.parquet", Row, "run it again")


@pytest.mark.parametrize("read", [checked.read_parquet, checked.read_csv, checked.read_json])
def test_what_is_no_file_is_refused(tmp_path: Path, read) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("folder", "link", "nothing"):
        with pytest.raises(ValueError, match=rf"{name}: not a readable .*; run it again"):
            read(tmp_path / name, Row, "run it again")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON: Expecting property name"),
        ('{"task": "a", "count": 1, "loss": NaN}', "not valid JSON: the number NaN is not finite"),
        ('{"task": "a", "count": 1}', "loss: Field required; run"),
        ('{"task": "a", "count": 1, "loss": 1, "x": 1}', "x: Unexpected keyword argument, got 1"),
        ('{"task": "a", "count": true, "loss": 1}', "count: Input should be a valid integer"),
        ("[]", "Input should be a dictionary or an instance of Row, got []"),
        ("[" * 100_000, "not valid JSON: "),
    ],
)
def test_a_damaged_json_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "values.json").write_text(text)
    with pytest.raises(ValueError, match=rf"values\.json: {re.escape(message)}.*it again"):
        checked.read_json(tmp_path / "values.json", Row, "run it again")


def test_json_values_are_returned_as_they_are(tmp_path: Path) -> None:
    values = {"task": "a", "count": 1, "loss": 1}
    files.write_json(tmp_path / "values.json", values)
    found = checked.read_json(tmp_path / "values.json", Row, "run it again")
    assert found == values
    assert type(found["loss"]) is int
