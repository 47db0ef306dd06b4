import re
import shutil
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from arcmix import files


def test_replacing_creates_the_folder_and_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "file"

    with files.replacing(path) as new:
        new.write_text("text")
        assert not path.exists()

    assert path.read_text() == "text"
    assert [*path.parent.iterdir()] == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_replacing_keeps_the_old_file_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail() -> None:
        with files.replacing(path) as new:
            new.write_text("half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        fail()

    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


def test_discard_removes_the_folder_and_the_remains_of_an_earlier_removal(tmp_path: Path) -> None:
    folder, left, other = tmp_path / "v1.0", tmp_path / "v1.0.done", tmp_path / "v1.done"
    for one in (folder, left, other):
        (one / "deep").mkdir(parents=True)
        (one / "deep" / "file").write_text("text")

    files.discard(folder)

    assert [*tmp_path.iterdir()] == [other]


def test_discard_hides_the_folder_before_it_removes_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    def die(path: Path) -> None:
        assert path.is_dir()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", die)
        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            files.discard(folder)

    assert not folder.exists()
    folder.mkdir()
    files.discard(folder)
    assert [*tmp_path.iterdir()] == []


def test_discard_raises_an_error_for_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        files.discard(tmp_path / "none")


def test_equal_values_give_equal_bytes_of_json(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"

    files.write_json(first, {"b": [1, 0.5], "a": None})
    files.write_json(second, {"a": None, "b": [1, 0.5]})

    assert files.read_json(first) == {"a": None, "b": [1, 0.5]}
    assert first.read_bytes() == second.read_bytes()
    assert first.read_text().endswith("}\n")


def test_write_json_rejects_values_that_json_cannot_represent(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "file", {"loss": float("nan")})


def test_read_json_reports_the_file_that_is_not_json(tmp_path: Path) -> None:
    path = tmp_path / "broken"
    path.write_text("{")

    with pytest.raises(ValueError, match=r"broken: not valid JSON: .*line 1"):
        files.read_json(path)


def test_write_csv_keeps_six_digits(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"

    files.write_csv(path, pd.DataFrame({"step": [0, 10], "loss": [1 / 3, np.nan]}))

    assert path.read_text() == "step,loss\n0,0.333333\n10,\n"


def test_read_csv_keeps_task_ids_numbers_and_empty_cells(tmp_path: Path) -> None:
    path = tmp_path / "tasks.csv"
    path.write_text("task,tests,val_loss\n00576224,2,\n12e45678,1,0.123457\n")
    found = files.read_csv(path)
    assert found == [
        {"task": "00576224", "tests": 2, "val_loss": None},
        {"task": "12e45678", "tests": 1, "val_loss": 0.123457},
    ]
    assert [type(entry["tests"]) for entry in found] == [int, int]


def test_write_parquet_keeps_the_table(tmp_path: Path) -> None:
    table = pd.DataFrame({"task": ["b", "a"], "loss": np.array([0.1, 0.2], np.float32)})

    files.write_parquet(tmp_path / "table.parquet", table)

    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "table.parquet"), table)


def test_write_text_writes_exactly_the_text(tmp_path: Path) -> None:
    files.write_text(tmp_path / "note", "1 \u00d7 2\n")

    assert (tmp_path / "note").read_bytes() == b"1 \xc3\x97 2\n"


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    """Return a folder with a nested file, and a file."""
    folder, file = tmp_path / "model", tmp_path / "tasks"
    (folder / "deeper").mkdir(parents=True)
    (folder / "deeper" / "weights").write_text("w")
    file.write_text("r")
    return [folder, file]


def test_digest_depends_on_the_contents_and_the_names_in_a_folder(inputs: list[Path]) -> None:
    folder, file = inputs
    found = [files.digest(inputs)]
    (folder / "deeper" / "weights").rename(folder / "weights")
    found.append(files.digest(inputs))
    (folder / "weights").write_text("v")
    found.append(files.digest(inputs))
    file.write_text("q")
    found.append(files.digest(inputs))
    assert len({*found}) == 4


def test_digest_does_not_depend_on_the_location_of_the_inputs(
    inputs: list[Path], tmp_path: Path
) -> None:
    before = files.digest(inputs)
    moved = [path.rename(tmp_path / f"{path.name}-moved") for path in inputs]
    assert files.digest(moved) == before


def test_the_key_changes_with_the_values_and_the_inputs(
    inputs: list[Path],
) -> None:
    first, again = files.key("{}", inputs), files.key("{}", inputs)
    assert first == again
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert files.key("{'seed': 1}", inputs) != first
    inputs[1].write_text("q")
    assert files.key("{}", inputs) != first
