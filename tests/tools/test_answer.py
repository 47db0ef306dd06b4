"""`make answer`: from a challenges file and an adapter to a submission."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from arcmix import files, parsing, tasks
from arcmix.config import schema
from arcmix.scoring import submission
from stages import adapt
from tests import predicting
from tests.arc import component, dataset
from tests.archives import task
from tests.repository import Repository
from tests.training.test_trainer import settings as finetuned
from tools import answer, challenges, prompts

ROOT = Path(__file__).parents[2]
ASKED = {
    "one": {"train": task(1)["train"], "test": [{"input": [[1, 2]]}, {"input": [[3]]}]},
    "far": {"train": task(2)["train"] * 9, "test": [{"input": [[1, 2]]}]},
}
"""The prompt of the second task is too long."""


@pytest.fixture(scope="module")
def answered(tmp_path_factory, base_model) -> Path:
    """Return a folder with the tasks and the answers of an untrained adapter, adapted to each."""
    folder = tmp_path_factory.mktemp("answered")
    predicting.write_adapter(folder / "adapter", base_model)
    (folder / "challenges.json").write_text(json.dumps(ASKED))
    tasks.write(folder / "validation.parquet", challenges.kaggle.read(folder / "challenges.json"))
    values = schema.resolve(schema.read(ROOT / "params.yaml"))
    test_time = values["scales"]["tiny"]["test_time"] | {"steps": 2, "batch": 1}
    config = {"seed": 0, "init_seed": "seed", "augment": values["augment"], "checkpoint": "last"}
    config |= {"finetune": finetuned().model_dump(mode="json"), "test_time": test_time}
    files.write_text(folder / "code", "x")
    adapt.run(
        config=adapt.Params.model_validate_json(json.dumps(config)),
        code=folder / "code",
        base_model=base_model,
        adapter=folder / "adapter",
        validation=folder / "validation.parquet",
        checkpoints=folder / "checkpoints",
        adapted=folder / "adapted",
        table=folder / "adapt.csv",
        machine=folder / "adapt.json",
    )
    predicting.run(folder, base_model, folder, folder / "adapted", grammar=True)
    return folder


def write(folder: Path, out: Path) -> dict[str, Any]:
    """Write the submission and return its content."""
    values = {"selection": "vote_count", "max_tokens": 150, "predict": predicting.settings()}
    answer.run(
        config=answer.Params.model_validate(values),
        tasks=folder / "validation.parquet",
        candidates=folder / "candidates.parquet",
        scores=folder / "scores.parquet",
        out=out,
    )
    return json.loads(out.read_text())


def test_every_test_has_two_attempts(answered, tmp_path, caplog) -> None:
    caplog.set_level("INFO")

    found = write(answered, tmp_path / "submission.json")

    assert {name: len(tests) for name, tests in found.items()} == {"one": 2, "far": 1}
    counts = {name: len(one["test"]) for name, one in ASKED.items()}
    read = submission.read("x", found, counts, tasks.MAX_SIDE)
    assert (read.missing, read.invalid, read.ignored) == (0, 0, 0)
    assert found["far"] == [{name: [[0, 0], [0, 0]] for name in submission.NAMES}]
    said = " ".join(caplog.messages)
    assert "two attempts at each of the 3 tests of 2 tasks" in said
    assert "prompt has more than 150 tokens, the validation.max_tokens of the scale: 1" in said


@pytest.mark.parametrize("limit", [10, 150])
def test_tests_whose_prompts_are_all_too_long_are_refused(answered, limit) -> None:
    values = {"max_tokens": limit, "predict": predicting.settings()}
    config = prompts.Params.model_validate(values)
    files = {"tasks": answered / "validation.parquet", "adapter": answered / "adapter"}
    if limit == 150:
        prompts.run(config=config, **files)
        return
    with pytest.raises(ValueError, match=r"all 3 tests have more than 10 tokens, the shortest \d"):
        prompts.run(config=config, **files)


def test_tasks_are_adapted_on_their_demonstrations_and_no_loss_of_a_test_is_measured(
    answered,
) -> None:
    assert "one" in (answered / "adapt.csv").read_text()
    losses = pd.read_parquet(answered / "answering-losses.parquet")
    assert losses.empty


def test_the_commands_are_those_of_the_pipeline() -> None:
    text = re.sub(r"\\\n\s*", "", (ROOT / "Makefile").read_text())
    pipeline = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    for stage in ("adapt", "predict"):
        [line] = re.findall(rf"-m arcmix\.launch stages\.{stage} (.*)", text)
        flags = {word for word in shlex.split(line) if word.startswith("--")}
        _, given = pipeline[stage]["cmd"].split(f"stages.{stage} ")
        assert flags == {word for word in shlex.split(given) if word.startswith("--")}


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Repository:
    """Return a repository with an adapter and the tables that it was trained on."""
    made = Repository(tmp_path_factory.mktemp("root") / "repository")
    pipeline = (made.folder / "dvc.yaml").read_text()
    adapt = "  adapt:\n    cmd: touch adapted\n    deps: [data/adapter]\n    outs: [adapted]\n"
    (made.folder / "dvc.yaml").write_text(pipeline + adapt)
    made.train("weights")
    own = [
        parsing.as_task(name, task(color), source="own", split="training", variation=0, max_side=30)
        for name, color in (("a", 1), ("b", 7))
    ]
    tasks.write(made.folder / "tables/own.parquet", own)
    tasks.write(made.folder / "tables/train.parquet", [])
    return made


def read(
    repository: Repository, values: Any = None, adapter: str = "data/adapter"
) -> list[tasks.Task]:
    """Return the tasks that `make answer` makes of a file with these values; None: of no file."""
    path = repository.folder / "challenges.json"
    if values is not None:
        path.write_text(json.dumps(values))
    config = challenges.Params.model_validate({"dataset": dataset(component("own"))})
    challenges.run(
        config=config,
        challenges=path,
        adapter=repository.folder / adapter,
        partition=repository.folder / "tables",
        sources=repository.folder / "tables",
        out=repository.folder / "out.parquet",
    )
    return tasks.read(repository.folder / "out.parquet", hidden=True)


def test_training_tasks_that_share_pairs_are_told(repository, caplog) -> None:
    shown = task(1)["train"] * 2
    other = [{"input": np.eye(7, dtype=int).tolist(), "output": [[1, 2, 3]]}] * 2
    ask = {"test": [{"input": [[4]]}]}

    found = read(repository, {"new": {"train": shown} | ask, "free": {"train": other} | ask})

    assert [one.id for one in found] == ["new", "free"]
    # Another test may have made the log more talkative.
    assert [one.getMessage() for one in caplog.records if one.levelname == "WARNING"] == [
        "own: 2 training tasks share pairs or ids with 1 of the tasks to answer: a, b"
    ]


def test_without_an_adapter_the_error_says_what_to_run(repository) -> None:
    with pytest.raises(ValueError, match=r"nowhere has no adapter yet, .*; run: make repro$"):
        read(repository, ASKED, adapter="nowhere")


def test_a_missing_file_is_an_error_that_says_so(repository) -> None:
    (repository.folder / "challenges.json").unlink(missing_ok=True)
    with pytest.raises(ValueError, match=r"challenges\.json: there is no such file; give the path"):
        read(repository)


def test_a_malformed_file_is_an_error_that_names_the_task(repository) -> None:
    with pytest.raises(ValueError, match="task 'bad': a task has no train pairs"):
        read(repository, {"bad": {"test": []}})


def test_an_adapter_of_other_values_is_refused(repository) -> None:
    weights = repository.folder / "made/best/weights"
    before = weights.read_text()
    weights.write_text("others")
    with pytest.raises(ValueError, match=r"the stages \['finetune'\] have other values or files"):
        read(repository, ASKED)
    weights.write_text(before)
    assert len(read(repository, ASKED)) == 2
