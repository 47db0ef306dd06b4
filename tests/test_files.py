import contextlib
import errno
import fcntl
import json
import logging
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


WRITE = """
import pathlib
import sys
import time
from arcmix import files

with files.replacing(pathlib.Path(sys.argv[1])) as new:
    new.write_text("half of the n")
    print("held", flush=True)
    time.sleep(600)
"""
"""A program that is about to replace a file."""

HOLD = """
import pathlib
import sys
import time
from arcmix import files

with files.locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""
"""A program that holds a lock."""


@contextlib.contextmanager
def started(program: str, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the end of the block, which begins when the program says `held`."""
    environment = os.environ | {"PYTHONPATH": str(Path(files.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", program, path], env=environment, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


def test_replacing_removes_what_a_killed_process_left_of_the_same_file_alone(
    tmp_path: Path,
) -> None:
    path, other = tmp_path / "file", tmp_path / "file2"
    for one in (path, other):
        with started(WRITE, one):
            pass
    assert {one.suffix for one in tmp_path.iterdir()} == {files.PARTIAL}
    assert len([*tmp_path.iterdir()]) == 2

    files.write_text(path, "new")

    [left] = {*tmp_path.iterdir()} - {path}
    assert left.name.startswith(".file2.")


def test_replacing_leaves_what_another_process_is_writing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with started(WRITE, path):
        files.write_text(path, "new")
        [left] = {*tmp_path.iterdir()} - {path}
        assert left.read_text() == "half of the n"


def test_replacing_syncs_the_file_before_its_name_and_the_name_at_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    sync, replace = os.fsync, Path.replace

    def record_sync(handle: int) -> None:
        calls.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        sync(handle)

    def record_replace(path: Path, to: Path) -> Path:
        calls.append("replace")
        return replace(path, to)

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(Path, "replace", record_replace)
    files.write_text(tmp_path / "file", "text")
    assert calls[0].endswith(files.PARTIAL)
    assert calls[1:] == ["replace", str(tmp_path)]


def test_a_copied_folder_has_no_partial_files_and_none_of_an_earlier_copy(tmp_path: Path) -> None:
    folder, out = tmp_path / "folder", tmp_path / "new" / "out"
    for name in ("weights", "deep/config", ".weights.ab12cd34.partial", "deep/.config.x.partial"):
        files.write_text(folder / name, name)
    files.write_text(out / "stale", "stale")

    files.copy_folder(folder, out)

    assert {str(one.relative_to(out)) for one in out.rglob("*")} == {
        "weights",
        "deep",
        "deep/config",
    }


def test_a_process_waits_for_a_lock_until_the_holder_is_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "arcmix")
    path = tmp_path / "cache" / "file"
    killed = threading.Event()
    with started(HOLD, path) as holder:

        def kill() -> None:
            killed.set()
            holder.kill()

        threading.Timer(0.3, kill).start()
        with files.locked(path):
            assert killed.is_set()

    assert caplog.messages == [f"waiting for another process, which makes {path}"]


def test_a_lock_that_is_not_waited_for_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with (
        started(HOLD, path),
        pytest.raises(TimeoutError, match="file"),
        files.locked(path, wait=False),
    ):
        pass
    with files.locked(path, wait=False):
        pass


def test_a_file_system_without_locks_is_an_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", fail)
    with (
        pytest.raises(
            OSError, match=r"work cannot be locked: .*; without locks, .* move the folder"
        ),
        files.locked(tmp_path / "work"),
    ):
        pass
    files.write_text(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "text"


def test_discard_removes_the_folder_its_lock_and_the_remains_of_an_earlier_removal(
    tmp_path: Path,
) -> None:
    folder, left, other = tmp_path / "v1.0", tmp_path / "v1.0.done", tmp_path / "v1.done"
    for one in (folder, left, other):
        (one / "deep").mkdir(parents=True)
        (one / "deep" / "file").write_text("text")
    with files.locked(folder):
        pass

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


def test_discard_leaves_a_folder_that_another_process_uses(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with started(HOLD, folder), pytest.raises(TimeoutError, match="folder"):
        files.discard(folder)
    assert folder.is_dir()


def test_a_process_that_waits_for_the_lock_of_a_discarded_folder_gets_one(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    waiter = threading.Thread(target=lambda: holding(folder, 0.3))
    with files.locked(folder):
        waiter.start()
        time.sleep(0.2)  # it waits, with the lock's file open
        files._lock_file(folder).unlink()  # noqa: SLF001 - as `discard` does
    time.sleep(0.2)
    # It holds the lock that others see, not that of a file without a name.
    with pytest.raises(TimeoutError, match="folder"), files.locked(folder, wait=False):
        pass
    waiter.join()


def holding(path: Path, seconds: float) -> None:
    with files.locked(path):
        time.sleep(seconds)


def test_discard_raises_an_error_for_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        files.discard(tmp_path / "none")
    assert [*tmp_path.iterdir()] == []


VALUES = [{"text": "é", "number": 0.1}, [1, None, True], 1e-300]


def test_checked_values_are_read_as_they_were_written(tmp_path: Path) -> None:
    files.write_checked(tmp_path / "file", VALUES)
    assert files.read_checked(tmp_path / "file") == VALUES
    assert json.loads((tmp_path / "file").read_text())["values"] == VALUES
    assert files.read_checked(tmp_path / "none") is None


@given(st.data())
def test_a_checked_file_with_any_other_byte_is_not_read(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        files.write_checked(path, VALUES)
        whole = path.read_bytes()
        place = data.draw(st.integers(0, len(whole) - 1))
        byte = data.draw(st.integers(0, 255).filter(lambda one: one != whole[place]))
        path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
        assert files.read_checked(path) in (None, VALUES)
        path.write_bytes(whole[:place])
        assert files.read_checked(path) is None


@pytest.mark.parametrize("text", ["", "null", "[1]", '{"values": [NaN]}', "[" * 10**5, "\0"])
def test_a_damaged_checked_file_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    (tmp_path / "file").write_text(text)
    assert files.read_checked(tmp_path / "file") is None
    assert caplog.messages == [f"{tmp_path / 'file'} is damaged and is not used"]


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


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_read_json_refuses_numbers_that_are_not_finite(tmp_path: Path, number: str) -> None:
    (tmp_path / "broken").write_text(f'{{"loss": {number}}}')
    with pytest.raises(ValueError, match=r"broken: not valid JSON: .* is not finite; correct"):
        files.read_json(tmp_path / "broken")


def test_write_csv_keeps_six_digits(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"

    files.write_csv(path, pd.DataFrame({"step": [0, 10], "loss": [1 / 3, np.nan]}))

    assert path.read_text() == "step,loss\n0,0.333333\n10,\n"


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


@pytest.mark.parametrize("tool", ["git", "dvc"])
@pytest.mark.parametrize(
    "name", ["results/ledger/new/.0-abc.json.x1_y2z3a.partial", "data/.samples.parquet.x.partial"]
)
def test_git_and_dvc_ignore_what_a_killed_process_left(tool: str, name: str) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [tool, "check-ignore", name],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == name, done.stderr
