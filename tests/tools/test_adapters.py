import hashlib
import inspect
from pathlib import Path

import pytest

from arcmix import fingerprints
from arcmix.sources import inputs
from tests import targets
from tests.repository import PARAMS, Repository, settings
from tests.rows import row
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
    adapters.run(
        params=PARAMS,
        repository=repository.folder,
        library=ROOT / "src/arcmix",
        programs=ROOT / "stages",
        rows=rows,
        action=action,
    )
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
    folder, gone = repository.folder, f"{'0' * 32}.dir"
    code = fingerprints.fingerprints(fingerprints.programs(ROOT / "stages"), ROOT / "src/arcmix")
    repository.train("third", "arc-1d", code=code["all"], adapter=gone)
    repository.train("fourth", "mini-arc", code="c0de00000009", adapter=gone)
    lock, params = folder / "dvc.lock", PARAMS.read_text()
    for one in (code["all"], "c0de00000009"):
        written = hashlib.md5(f"{one}\n".encode(), usedforsecurity=False).hexdigest()
        lock.write_text(f"{lock.read_text()}# {written}\n")
    assert "seed: 7\n  tasks: 100\n" in params
    (folder / "params.yaml").write_text(params.replace("seed: 7\n  tasks", "seed: 8\n  tasks"))
    repository.commit("then")
    then = repository.run("git", "rev-parse", "HEAD").strip()
    present, earlier = [line for line in run(repository, "list", capsys) if "nowhere" in line]
    # Of the present code: the values of the workspace are those of the row.
    assert present.startswith("nowhere; to have it again: dvc exp run -S dataset=arc-1d ")
    assert "partition.seed" not in present
    assert earlier.startswith(f"nowhere; to have it again, at commit {then}: dvc exp run ")
    assert " -S partition.seed=7" in earlier


def test_an_edited_model_folder_and_loose_tasks_are_needed_as_they_were(repository, capsys) -> None:
    model = {"kind": "folder", "path": "models/mine", "sha256": "a" * 64}
    mix = row().mix
    mix["components"][0] |= {"pinned": False}
    lost = {"adapter": f"{'0' * 32}.dir", "settings": settings() | {"model": model}, "mix": mix}
    repository.train("third", "arc-1d", **lost)
    table, digest = (mix["components"][0][name] for name in ("table", "digest"))
    tasks = f"with the tasks of {table} as they were (digest {digest}): dvc exp run "
    (found,) = [line for line in run(repository, "list", capsys) if "nowhere" in line]
    assert f"with the folder models/mine as it was (sha256 {'a' * 64}, now none), {tasks}" in found
    folder = repository.folder / "models/mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    now = inputs.model_digest("models/mine", repository.folder)["sha256"]
    (found,) = [line for line in run(repository, "list", capsys) if "nowhere" in line]
    assert f"(sha256 {'a' * 64}, now {now})" in found
    del model["sha256"]  # as in a row of earlier code
    repository.train("fourth", "arc-1d", **lost)
    assert any(f"(sha256 unknown, now {now})" in one for one in run(repository, "list", capsys))


def test_a_push_also_takes_the_runs_before_the_remote(repository, capsys, tmp_path) -> None:
    (tmp_path / "remote").mkdir()
    repository.run("dvc", "remote", "add", "-q", "-d", "store", str(tmp_path / "remote"))
    both = "in the cache and in the remote"
    assert run(repository, "push", capsys) == [both, both]
    repository.run("dvc", "gc", "--workspace", "--force")
    assert run(repository, "list", capsys) == ["in the remote", both]


@pytest.mark.parametrize(("target", "action"), [("push", "push"), ("adapters", "list")])
def test_a_target_of_make_calls_the_tool(target: str, action: str) -> None:
    name, named = targets.tool(target)
    assert name == "adapters"
    assert named.keys() == inspect.signature(adapters.run).parameters.keys()
    assert named["action"] == action
