import os
import shutil
import time

import pytest

from arcmix import files
from arcmix.training import work


def finish(checkpoints, key, text=""):
    """Run something in a work folder."""
    with work.held(checkpoints, key) as folder:
        files.write_text(folder / "result", text)


def kept(checkpoints):
    """Return the names of the work folders; each has its lock and nothing else has one."""
    found = {one.name for one in checkpoints.iterdir() if one.is_dir()}
    locks = {one.name for one in checkpoints.iterdir() if not one.is_dir()}
    assert locks - {".finished.lock"} == {f".{name}.lock" for name in found}
    return found


def test_the_folders_of_the_last_finished_runs_are_kept_and_found(tmp_path):
    for key in ("one", "two", "three", "four"):
        finish(tmp_path, key, key)
    assert kept(tmp_path) == {"three", "four"}
    with work.held(tmp_path, "three") as folder:
        assert (folder / "result").read_text() == "three"


def test_a_run_that_finds_its_result_counts_as_the_last(tmp_path):
    for key in ("one", "two", "one", "three"):
        finish(tmp_path, key)
    assert kept(tmp_path) == {"one", "three"}


def test_the_folder_of_a_failed_run_is_kept_without_a_lock_that_is_held(tmp_path):
    def fail():
        with work.held(tmp_path, "failed") as folder:
            files.write_text(folder / "half", "half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    for key in ("one", "two", "three"):
        finish(tmp_path, key)
    assert kept(tmp_path) == {"failed", "two", "three"}
    with files.locked(tmp_path / "failed", wait=False):
        assert (tmp_path / "failed/half").exists()


def test_the_folder_of_a_run_that_nobody_continued_for_a_month_is_removed(tmp_path):
    month = work.ABANDONED.total_seconds()
    for key, age in (("old", month + 60), ("recent", month - 60), ("used", month + 60)):
        files.write_text(tmp_path / key / "half", "half")
        with files.locked(tmp_path / key):
            pass
        when = time.time() - age
        os.utime(tmp_path / key, (when, when))
    with files.locked(tmp_path / "used"):
        finish(tmp_path, "one")
    assert kept(tmp_path) == {"recent", "used", "one"}


def test_a_folder_that_another_run_uses_is_not_removed(tmp_path):
    finish(tmp_path, "used")
    with work.held(tmp_path, "used"):
        for key in ("one", "two", "three"):
            finish(tmp_path, key)
        assert kept(tmp_path) == {"used", "two", "three"}


def test_what_a_killed_removal_left_is_removed(tmp_path):
    files.write_text(tmp_path / "old.done" / "weights", "half")
    finish(tmp_path, "one")
    assert kept(tmp_path) == {"one"}


def test_a_folder_that_cannot_be_removed_is_logged(tmp_path, caplog, monkeypatch):
    def fail(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    for key in ("one", "two"):
        finish(tmp_path, key)
    monkeypatch.setattr(shutil, "rmtree", fail)
    finish(tmp_path, "three")
    [message] = caplog.messages
    assert message.startswith(f"{tmp_path / 'one'} cannot be removed: [Errno 13]")
