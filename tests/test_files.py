import shutil
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from arcmix import files


def test_replacing_makes_the_folder_and_the_file(tmp_path: Path) -> None:
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


def test_discard_removes_the_folder_and_what_is_left_of_an_earlier_one(tmp_path: Path) -> None:
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


def test_discard_tells_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        files.discard(tmp_path / "none")


def test_json_round_trips_in_equal_bytes_for_equal_values(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"

    files.write_json(first, {"b": [1, 0.5], "a": None})
    files.write_json(second, {"a": None, "b": [1, 0.5]})

    assert files.read_json(first) == {"a": None, "b": [1, 0.5]}
    assert first.read_bytes() == second.read_bytes()
    assert first.read_text().endswith("}\n")


def test_write_json_refuses_what_json_cannot_say(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "file", {"loss": float("nan")})


def test_read_json_names_the_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "broken"
    path.write_text("{")

    with pytest.raises(ValueError, match=r"broken: not valid JSON: .*line 1"):
        files.read_json(path)


def test_write_csv_keeps_six_digits(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"

    files.write_csv(path, pd.DataFrame({"step": [0, 10], "loss": [1 / 3, np.nan]}))

    assert path.read_text() == "step,loss\n0,0.333333\n10,\n"


def test_write_parquet_keeps_the_table(tmp_path: Path) -> None:
    table = pd.DataFrame({"task": ["b", "a"], "loss": np.array([0.1, 0.2], np.float32)})

    files.write_parquet(tmp_path / "table.parquet", table)

    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "table.parquet"), table)


def test_write_text_writes_the_text_alone(tmp_path: Path) -> None:
    files.write_text(tmp_path / "note", "1 \u00d7 2\n")

    assert (tmp_path / "note").read_bytes() == b"1 \xc3\x97 2\n"
