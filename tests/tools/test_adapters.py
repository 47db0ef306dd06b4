import hashlib
import inspect
import re
import subprocess
from pathlib import Path

import pytest

from tests.repository import PARAMS, Repository
from tools import adapters

ROOT = Path(__file__).parents[2]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository with two runs; the workspace has the second."""
    found = Repository(tmp_path / "repository")
    found.train("first")
    found.train("second", "train")
    return found


def run(repository: Repository, action: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the printed place of each row."""
    rows = repository.folder / "results/ledger"
    adapters.run(params=PARAMS, repository=repository.folder, rows=rows, action=action)
    return [line.partition(": ")[2] for line in capsys.readouterr().out.splitlines()]


def test_a_lost_adapter_comes_with_the_command_that_brings_it_back(repository, capsys) -> None:
    assert run(repository, "list", capsys) == ["in the cache", "in the cache"]
    repository.run("dvc", "gc", "--workspace", "--force")
    lost, kept = run(repository, "list", capsys)
    assert lost.startswith("nowhere; to have it again: dvc exp run -S dataset=re-arc -S model=tiny")
    assert kept == "in the cache"


def test_the_command_for_an_adapter_of_earlier_code_is_that_of_its_commit(
    repository, capsys
) -> None:
    folder = repository.folder
    name = repository.train("third", "arc-1d", code="c0de00000009", adapter=f"{'0' * 32}.dir")
    written = hashlib.md5(b"c0de00000009\n", usedforsecurity=False).hexdigest()
    params = PARAMS.read_text()
    assert "seed: 7\n  tasks: 100\n" in params
    (folder / "params.yaml").write_text(params.replace("seed: 7\n  tasks", "seed: 8\n  tasks"))
    lock = folder / "dvc.lock"
    lock.write_text(f"{lock.read_text()}# {written}\n")
    repository.commit("then")
    then = repository.run("git", "rev-parse", "HEAD").strip()
    (lost,) = [line for line in run(repository, "list", capsys) if line.startswith("nowhere")]
    # Present code: the values of the workspace are those of the row.
    assert lost.startswith("nowhere; to have it again: dvc exp run -S dataset=arc-1d ")
    assert "partition.seed" not in lost
    lock.write_text(lock.read_text().replace(written, "0" * 32))
    repository.commit("now")
    (lost,) = [line for line in run(repository, "list", capsys) if line.startswith("nowhere")]
    assert lost.startswith(f"nowhere; to have it again, at commit {then}: dvc exp run ")
    assert " -S partition.seed=7" in lost, name


def test_a_push_also_takes_the_runs_before_the_remote(repository, capsys, tmp_path) -> None:
    (tmp_path / "remote").mkdir()
    repository.run("dvc", "remote", "add", "-q", "-d", "store", str(tmp_path / "remote"))
    both = "in the cache and in the remote"
    assert run(repository, "push", capsys) == [both, both]
    repository.run("dvc", "gc", "--workspace", "--force")
    assert run(repository, "list", capsys) == ["in the remote", both]


@pytest.mark.parametrize(("target", "action"), [("push", "push"), ("adapters", "list")])
def test_a_target_of_make_calls_the_tool(target: str, action: str) -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "-C", ROOT, "-n", target],
        capture_output=True,
        text=True,
        check=True,
    )
    last = done.stdout.splitlines()[-1]
    assert "-m tools.adapters" in last
    named = dict(re.findall(r"--([a-z-]+) (\S+)", last))
    assert named.keys() == inspect.signature(adapters.run).parameters.keys()
    assert named["action"] == action
