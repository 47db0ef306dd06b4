"""The whole pipeline, run by DVC in a copy of this repository, at the scale `tiny`."""

import contextlib
import copy
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests import tolerance

ROOT = Path(__file__).parents[1]
IDENTITY = {
    f"GIT_{role}_{field}": f"test{'@example.org' * (field == 'EMAIL')}"
    for role in ("AUTHOR", "COMMITTER")
    for field in ("NAME", "EMAIL")
}


class Repository:
    """A copy of the working tree with its own history and its own DVC cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for name in filter(None, listed.split("\0")):
            # Results are not copied, so all results at the end are those of this test.
            if not name.startswith("results/") and (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        for command in ("init --quiet", "add --all", "commit --quiet --message=start"):
            self.run("git", *command.split())

    def run(self, *command: str, status: int = 0) -> str:
        """Run a command in the copy and return what it printed."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | IDENTITY | {"PATH": path, "COLUMNS": "200"},
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == status, f"{command} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def experiment(self, **choices: str) -> str:
        """Run an experiment in the workspace and return what DVC printed."""
        flags = [flag for name, value in choices.items() for flag in ("-S", f"{name}={value}")]
        return self.run("dvc", "exp", "run", *flags)

    def rows(self, dataset: str = "*") -> dict[str, dict]:
        """Return the rows of the ledger, or of one dataset in it, by their names."""
        found = self.folder.glob(f"results/ledger/{dataset}/*.json")
        return {f"{path.parent.name}/{path.stem}": _json(path) for path in found}

    def ledger(self) -> set[tuple[str, int]]:
        """Return the dataset and the seed of each row."""
        return {(row["dataset"], row["seed"]) for row in self.rows().values()}


def _json(path: Path) -> dict:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Repository:
    """Return a repository after the experiment with the default dataset."""
    copy = Repository(tmp_path_factory.mktemp("repository"))
    copy.experiment(model="tiny", scale="tiny", dataset="combo-v2", launch="python")
    copy.run("git", "add", "--all")
    copy.run("git", "commit", "--quiet", "--message=run")
    return copy


def stages(output: str) -> set[str]:
    """Return the stages that DVC ran, without `local`, which always runs."""
    lines = [line for line in output.splitlines() if line.startswith("Running stage")]
    return {line.split("'")[1] for line in lines} - {"local"}


def is_up_to_date(repository: Repository) -> bool:
    """Return whether DVC finds nothing that changed; of `local`, it cannot know."""
    return repository.run("dvc", "status").split() == ["local:", "always", "changed"]


def test_a_run_writes_the_table_and_everything_is_up_to_date(repository):
    table = (repository.folder / "results/ablation.md").read_text()
    assert "### tiny at tiny" in table
    assert "| combo-v2 " in table
    metrics = _json(repository.folder / "results/metrics.json")
    assert metrics["val_loss"] < metrics["val_loss_step_0"]
    assert repository.ledger() == {("combo-v2", 0)}
    page = (repository.folder / "results/report.html").read_text()
    assert "<h1>combo-v2, tiny at tiny, seed 0</h1>" in page
    assert is_up_to_date(repository)
    assert stages(repository.run("dvc", "repro")) == set()


def test_record_refuses_the_numbers_of_other_values(repository):
    file = repository.folder / "params.yaml"
    text = file.read_text()
    file.write_text(text.replace("selection: product", "selection: best"))
    output = repository.run("dvc", "repro", "--single-item", "record", status=255)
    file.write_text(text)
    assert re.search(r"error in record: the stages \[.*'evaluate'.*\] have other values", output)
    assert len(repository.rows()) == 1
    assert is_up_to_date(repository)


def test_a_row_with_other_numbers_is_kept_until_its_file_is_removed(repository):
    [path] = repository.folder.glob("results/ledger/*/*.json")
    own = path.read_text()
    values = json.loads(own)
    values["metrics"]["answering_val_loss"] += 0.25  # which follows from the data alone
    published = json.dumps(values)
    path.write_text(published)
    assert f"kept combo-v2/{path.stem} of the ledger, because" in repository.run("dvc", "repro")
    assert path.read_text() == published
    flags = ("--run-code", "data/code/all", "--rows", "results/ledger", "--own", ".cache/rows")
    told = repository.run("python", "-m", "tools.compare", *flags)
    assert "0 of 1 runs made here equal those of the ledger." in told.splitlines()
    assert "-0.2500" in told

    path.unlink()
    assert stages(repository.run("dvc", "repro")) == {"record", "ablation"}
    assert path.read_text() == own
    told = repository.run("python", "-m", "tools.compare", *flags)
    assert "1 of 1 runs made here equal those of the ledger." in told.splitlines()


@contextlib.contextmanager
def edited(repository: Repository) -> Iterator[dict[str, Any]]:
    """Yield the values of params.yaml, write them for the block, and put the file back."""
    file = repository.folder / "params.yaml"
    text = file.read_text()
    values = YAML(typ="safe").load(text)
    try:
        yield values
    finally:
        file.write_text(text)


def test_a_change_of_a_dataset_that_is_not_chosen_reruns_the_check_alone(repository):
    with edited(repository) as values:
        values["datasets"]["mini-arc"]["mini-arc"]["weight"] = 5
        YAML().dump(values, repository.folder / "params.yaml")
        assert stages(repository.run("dvc", "repro")) == {"check"}
    assert stages(repository.run("dvc", "repro")) == set()
    assert is_up_to_date(repository)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"datasets.combo-v2.new-train.pool": True, "augment.swap": False},
            "datasets.combo-v2.new-train.pool is true and augment.swap is False",
        ),
        ({"predict.rescore": 0}, "selection product ranks grids by their scores, but predict."),
        ({"measure.part": "nope"}, "measure.part of arc-agi-1: 'nope' is not one of ["),
        ({"scales.paper.samples": -100}, "scales.paper.samples: Input should be greater than"),
        ({"augment.swop": True}, "augment.swop: 'swop' is not one of ['background'"),
        ({"sources.x; touch pwned #": {"kind": "counting"}}, "sources: a name starts with a "),
    ],
)
def test_after_a_good_run_an_inconsistent_file_is_refused_before_any_stage(
    repository, changes, message
):
    with edited(repository) as values:
        for place, value in changes.items():
            *steps, last = place.split(".")
            node = values
            for step in steps:
                node = node[step]
            node[last] = value
        YAML().dump(values, repository.folder / "params.yaml")
        output = repository.run("dvc", "repro", status=255)

    [error] = [line for line in output.splitlines() if line.startswith("error")]
    assert error.startswith("error in check: params.yaml: ")
    assert message in error
    assert stages(output) == {"check"}
    assert not [*repository.folder.rglob("pwned*")]


def test_a_hostile_name_of_a_source_reaches_no_shell_without_the_check_either(repository):
    name = "x; touch pwned #"
    repository.run("dvc", "repro", "check")  # the output of a check that failed is gone
    with edited(repository) as values:
        values["sources"][name] = copy.deepcopy(values["sources"]["count"])
        YAML().dump(values, repository.folder / "params.yaml")
        digest = repository.folder / f"data/local/sources/{name}.json"
        digest.parent.mkdir(parents=True, exist_ok=True)
        digest.write_text("{}")
        output = repository.run("dvc", "repro", "-s", f"download@{name}", status=255)
        digest.unlink()

    assert "error in download" in output, output
    [error] = [line for line in output.splitlines() if line.startswith("error")]
    assert error.startswith("error in download: params.yaml: sources: a name starts with a letter")
    assert not [*repository.folder.rglob("pwned*")]


def test_an_unknown_name_is_one_error_that_lists_the_names(repository):
    file = repository.folder / "params.yaml"
    text = file.read_text()
    output = repository.run("dvc", "exp", "run", "-S", "dataset=combo", status=255)
    file.write_text(text)  # DVC leaves the name in
    [error] = [line for line in output.splitlines() if line.startswith("error")]
    assert "dataset: 'combo' is not one of [" in error
    assert "'combo-v1', 'combo-v2'," in error
    assert "Traceback" not in output


def test_an_edit_of_a_docstring_runs_the_code_stage_alone(repository):
    file = repository.folder / "src/arcmix/models/packing.py"
    text = file.read_text()
    assert text.startswith('"""')
    file.write_text(text.replace('"""', '"""Edited: ', 1))
    assert stages(repository.run("dvc", "repro")) == {"code"}
    file.write_text(text)
    assert stages(repository.run("dvc", "repro")) <= {"code"}


def test_an_edit_of_code_makes_the_stages_that_run_it_stale(repository):
    file = repository.folder / "src/arcmix/models/packing.py"
    text = file.read_text()
    file.write_text(text.replace("room.append(limit)", "room.append(limit - 1)"))
    repository.run("dvc", "repro", "code")
    status = repository.run("dvc", "status")
    file.write_text(text)
    repository.run("dvc", "repro", "code")
    changed = {line.rstrip(":") for line in status.splitlines() if re.match(r"\w+:$", line)}
    assert {"finetune", "adapt", "predict", "record"} <= changed
    assert not {"download", "augment", "fetch_model", "evaluate", "report"} & changed


def test_another_dataset_reruns_its_dependents_and_switching_back_trains_nothing(repository):
    there = repository.experiment(dataset="new-train")
    assert {"augment", "finetune", "predict", "evaluate", "record", "ablation"} <= stages(there)
    assert not {"fetch_model", "partition"} & stages(there)
    assert repository.ledger() == {("combo-v2", 0), ("new-train", 0)}
    table = (repository.folder / "results/ablation.md").read_text()
    assert "| combo-v2 " in table
    assert "| new-train " in table
    changed = repository.run("dvc", "metrics", "diff")
    assert "best_val_loss" in changed

    back = repository.experiment(dataset="combo-v2")
    assert not {"augment", "finetune", "predict", "evaluate"} & stages(back)
    assert repository.ledger() == {("combo-v2", 0), ("new-train", 0)}
    assert is_up_to_date(repository)


def test_a_queued_sweep_adds_its_rows_and_one_command_writes_the_table(repository):
    repository.run("dvc", "exp", "run", "--queue", "-S", "dataset=new-train", "-S", "seed=1,2")
    repository.run("dvc", "queue", "start", "--jobs", "2")
    deadline = time.monotonic() + 600
    while "Queued" in (status := repository.run("dvc", "queue", "status")) or "Running" in status:
        assert time.monotonic() < deadline, status
        time.sleep(2)
    assert status.count("Success") == 2, status

    assert stages(repository.run("dvc", "repro")) == {"record", "ablation"}

    assert {("new-train", 1), ("new-train", 2)} <= repository.ledger()
    table = (repository.folder / "results/ablation.md").read_text()
    [line] = [line for line in table.splitlines() if line.startswith("| new-train") and "±" in line]
    assert line.split("|")[4].strip() == "3"
    assert is_up_to_date(repository)


def test_a_second_stage_of_training_starts_from_the_adapter_of_the_first(repository):
    repository.experiment(dataset="new-train")
    before = repository.rows("new-train")
    [first] = [name for name, row in before.items() if row["seed"] == 0]

    output = repository.experiment(**{"init.adapter": first})

    ran = {name.partition("@")[0] for name in stages(output)}
    assert {"fetch_adapter", "finetune", "adapt", "predict", "evaluate", "record"} <= ran
    assert not {"download", "fetch_model", "partition", "audit", "augment"} & ran
    after = repository.rows("new-train")
    [second] = {*after} - {*before}
    start = after[second]["start"]
    assert (start["adapter"], start["address"]) == (first, before[first]["adapter"])
    ended, began = before[first]["metrics"]["val_loss"], after[second]["metrics"]["val_loss_step_0"]
    assert began == tolerance.close(ended, tolerance.forward("float32"))
    assert after[second]["adapter"] != before[first]["adapter"]
    table = (repository.folder / "results/ablation.md").read_text().splitlines()
    assert any(line.startswith(f"| new-train ← {first[:-5]} ") for line in table)


def test_an_edit_of_a_local_task_reruns_what_depends_on_it_also_in_a_queued_run(repository):
    own = repository.folder / ".cache/own"  # git ignores it, so no clone has it
    own.mkdir(parents=True)
    train = [{"input": [[color, 0]], "output": [[0], [color]]} for color in (1, 2, 3)]
    for name in ("a", "b"):
        task = {"train": train, "test": [{"input": [[5, 4]], "output": [[4], [5]]}]}
        (own / f"{name}.json").write_text(json.dumps(task))
    with edited(repository) as values:
        values["sources"]["own"] = {"kind": "folder", "path": ".cache/own"}
        values["datasets"]["own"] = {"own": {}}
        values["dataset"] = "own"
        YAML().dump(values, repository.folder / "params.yaml")
        assert {"download@own", "finetune"} <= stages(repository.run("dvc", "repro"))
        assert stages(repository.run("dvc", "repro")) == set()

        (own / "b.json").write_text(json.dumps({"train": train[:2], "test": train[2:]}))
        output = repository.run("dvc", "exp", "run", "--temp")

        assert {"download@own", "audit", "finetune", "predict"} <= stages(output)
        assert not {"fetch_model", "partition", "download@arc-agi-1"} & stages(output)
        repository.run("dvc", "repro", "finetune")
    repository.experiment(dataset="combo-v2")
    assert len(repository.rows("own")) == 2


def test_the_dvc_root_of_another_repository_is_one_error(tmp_path, monkeypatch):
    copy = Repository(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(ROOT))
    output = copy.run("dvc", "repro", "code", status=255)
    [error] = [line for line in output.splitlines() if line.startswith("error")]
    assert error.startswith(f"error in code: the environment variable DVC_ROOT is {ROOT}, but")
    assert not (tmp_path / "data/code").exists()
