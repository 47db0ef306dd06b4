import os
import subprocess
from pathlib import Path

import pytest

from arcmix import recovery

LOCK = "stages: {a: {params: {params.yaml: {seed: 1}}}}\n"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository in which DVC runs a stage; git tracks a file."""
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    (tmp_path / "dvc.lock").write_text(LOCK)
    (tmp_path / "table.csv").write_text("a\n")
    for command in (["init", "--quiet"], ["add", "table.csv"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "a")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("workspace")
def test_nothing_has_to_be_put_right_in_a_workspace_as_the_last_run_left_it() -> None:
    assert recovery.hint() == ""


def test_changed_values_are_set_back_by_one_command(workspace: Path) -> None:
    (workspace / "params.yaml").write_text("seed: 2\n")
    (workspace / "table.csv").unlink()
    assert recovery.hint().endswith("last run are back with: dvc exp run -S seed=1")


def test_many_changed_values_are_set_back_by_git(workspace: Path) -> None:
    names = [f"s{number}" for number in range(recovery.LIMIT + 1)]
    (workspace / "params.yaml").write_text("".join(f"{name}: 2\n" for name in names))
    ran = ", ".join(f"{name}: 1" for name in names)
    (workspace / "dvc.lock").write_text(LOCK.replace("seed: 1", ran))
    assert recovery.hint().endswith("are back with: git checkout params.yaml")


def test_a_run_whose_entry_is_gone_is_not_offered(workspace: Path) -> None:
    (workspace / "params.yaml").write_text("dataset: b\ndatasets: {a: {}}\n")
    (workspace / "dvc.lock").write_text(LOCK.replace("seed: 1", "dataset: mine"))
    assert recovery.hint().endswith("; to go back to the last commit: git checkout params.yaml")
    (workspace / "params.yaml").write_text("dataset: b\ndatasets: {a: {}, mine: {}}\n")
    assert recovery.hint().endswith("are back with: dvc exp run -S dataset=mine")


def test_an_entry_that_the_last_run_did_not_use_is_set_back_to_the_last_commit(
    workspace: Path, monkeypatch
) -> None:
    params = workspace / "params.yaml"
    params.write_text("seed: 1\ndatasets: {a: {b: {}}}\n")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["add", "params.yaml"], [*identity, "commit", "--quiet", "-m", "a"]):
        subprocess.run(["git", *command], cwd=workspace, check=True)
    params.write_text("seed: 1\ndatasets: {a: {b: {subset: 0.1}}, mine: {b: {}}}\n")
    assert recovery.hint() == ""
    monkeypatch.setenv("DVC_STAGE", "check")
    assert recovery.hint().endswith("are back with: dvc exp run -S '~datasets.a.b.subset'")


def test_git_sees_an_edit_of_equal_length_in_the_second_of_the_checkout(workspace: Path) -> None:
    def git(*words: str) -> str:
        command = ["git", "-c", "core.trustctime=false", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    params = workspace / "params.yaml"
    second = (1_700_000_000, 1_700_000_000)
    os.utime(params, second)
    git("add", "params.yaml")
    params.write_text("seed: 2\n")
    os.utime(params, second)
    assert git("diff", "--name-only", "params.yaml") == ""
    recovery.hint()
    assert git("diff", "--name-only", "params.yaml") == "params.yaml\n"
    git("checkout", "params.yaml")
    assert params.read_text() == "seed: 1\n"


def test_files_that_dvc_removed_come_back_from_git(workspace: Path) -> None:
    (workspace / "table.csv").unlink()
    hint = recovery.hint()
    command = hint.partition("are back with: ")[2].partition(" && ")[0]
    assert command == "git checkout table.csv"
    subprocess.run(command.split(), cwd=workspace, check=True)
    assert recovery.hint() == ""


def test_there_is_no_hint_without_a_readable_lock_or_git(workspace: Path, monkeypatch) -> None:
    (workspace / "params.yaml").write_text("seed: 2\n")
    (workspace / "dvc.lock").unlink()
    monkeypatch.setenv("PATH", "")
    assert recovery.hint() == ""


@pytest.mark.parametrize(("name", "value"), [("DVC_ROOT", "/elsewhere"), ("DVC_STAGE", None)])
def test_there_is_no_hint_in_a_queued_run_or_outside_of_dvc(
    workspace: Path, monkeypatch, name: str, value: str | None
) -> None:
    (workspace / "params.yaml").write_text("seed: 2\n")
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    assert recovery.hint() == ""
