import json
import logging
import shutil
import signal
import time

import pandas as pd
import pytest

from arcmix import files, tasks
from arcmix.config import scales
from arcmix.ledger import store
from stages import adapt as stage
from tests import launching, predicting, tolerance
from tests.arc import pair, task
from tests.launching import ONE, TWO, fingerprint, finish, kill, start
from tests.models.test_adapters import lora
from tests.sampling.test_augment import make
from tests.training.test_trainer import settings

HOW = settings(max_tokens=150, lora=lora(rank=16, alpha=32))
OFF = {"steps": 0, "batch": 2, "learning_rate": 0.01, "eval_every": 10, "patience": 3}
ON = OFF | {"steps": 60}

SAME = (pair(0), pair(0), pair(0))
# The test is a copy of the demonstrations, so a model that learned them can answer it.
KNOWN = tasks.Task("0a", "arc", "evaluation", 0, SAME, (pair(0),))
OTHER = tasks.Task("0b", "arc", "evaluation", 0, (pair(3, 1), pair(3, 1)), (pair(3, 1),))
LONG, FEW = task("0c", train=9), task("0d", train=1)
ASKED = [KNOWN, OTHER, LONG, FEW]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, base_model):
    """A folder with the validation tasks and an untrained adapter."""
    folder = tmp_path_factory.mktemp("trained")
    tasks.write(folder / "validation.parquet", ASKED)
    predicting.write_adapter(folder / "adapter", base_model, lora=HOW.lora)
    return folder


def adapting(folder, base_model, trained, test_time, validation=None, checkpoints=None):
    files.write_text(folder / "code", fingerprint("adapt"))
    stage.run(
        config=stage.Params.model_validate(
            {
                "seed": 0,
                "init_seed": "seed",
                "augment": make(),
                "finetune": HOW,
                "test_time": test_time,
                "checkpoint": "last",
            }
        ),
        code=folder / "code",
        base_model=base_model,
        adapter=trained / "adapter",
        validation=validation or trained / "validation.parquet",
        checkpoints=checkpoints or folder / "checkpoints",
        adapted=folder / "adapted",
        table=folder / "adapt.csv",
        machine=folder / "adapt.json",
    )


def run(folder, *rest):
    adapting(folder, *rest)
    return pd.read_csv(folder / "adapt.csv", index_col="task")


def answers(folder, base_model, trained):
    predicting.run(folder, base_model, trained, folder / "adapted", views=1)
    return pd.read_parquet(folder / "candidates.parquet").set_index("task")


def weights(folder, task):
    return (folder / "adapted" / task / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def adapted(tmp_path_factory, base_model, trained):
    folder = tmp_path_factory.mktemp("adapted")
    run(folder, base_model, trained, ON)
    return folder


def test_the_table_has_the_outcome_of_each_task(adapted):
    found = pd.read_csv(adapted / "adapt.csv", index_col="task")
    assert found.columns.tolist() == [
        "status", "reason", "steps", "best_step", "loss_before", "loss_after", "seconds"
    ]  # fmt: skip
    assert found.status.to_dict() == {
        "0a": "adapted",
        "0b": "adapted",
        "0c": "skipped",
        "0d": "skipped",
    }
    assert found.reason[["0c", "0d"]].tolist() == [
        "no sample of at most 150 tokens",
        "fewer than 2 demonstrations",
    ]
    assert (found.loss_after < found.loss_before - 0.5).tolist() == [True, True, False, False]


def test_the_folder_holds_the_adapters_of_the_tasks_that_have_one(adapted):
    assert json.loads((adapted / "adapted/tasks.json").read_text()) == ["0a", "0b"]
    assert {path.name for path in (adapted / "adapted").iterdir()} == {"tasks.json", "0a", "0b"}


def test_a_task_is_answered_with_its_own_adapter(tmp_path, base_model, trained, adapted):
    found = answers(adapted, base_model, trained)
    for name in ("0a", "0b", "0d"):
        alone = tmp_path / name
        shutil.copytree(trained / "adapter", alone / "adapter")
        shutil.copy(trained / "validation.parquet", alone)
        own = adapted / "adapted" / name
        if own.exists():
            shutil.copytree(own, alone / "adapter/last", dirs_exist_ok=True)
        run(alone, base_model, alone, OFF)
        expected = answers(alone, base_model, alone)
        within = tolerance.forward(HOW.dtype)
        assert found.logprob[name] == tolerance.close(expected.logprob[name], within)
        assert found.tokens[name] == expected.tokens[name]
    # The answers of the untrained adapter have low log-probabilities.
    assert found.logprob["0a"] > expected.logprob["0a"] + 1


def test_without_steps_the_table_and_the_folder_are_empty(tmp_path, trained):
    found = run(tmp_path, tmp_path / "no model is read", trained, OFF)
    assert found.empty
    assert (tmp_path / "adapt.csv").read_text().startswith("task,status,reason,")
    assert [path.name for path in (tmp_path / "adapted").iterdir()] == ["tasks.json"]
    assert json.loads((tmp_path / "adapted/tasks.json").read_text()) == []


def test_the_order_of_the_tasks_does_not_matter(tmp_path, base_model, trained, adapted):
    tasks.write(tmp_path / "turned.parquet", ASKED[::-1])
    run(tmp_path, base_model, trained, ON, tmp_path / "turned.parquet")
    for name in ("0a", "0b"):
        assert weights(tmp_path, name) == weights(adapted, name)


ADAPT = """
import logging
import os
import sys
from pathlib import Path
from arcmix.models import parallel
from tests.stages import test_adapt

folder, base_model, trained, checkpoints = map(Path, sys.argv[1:])
journal = open(folder / f"rank-{os.environ.get('RANK', 0)}", "w", buffering=1)

def record(event, values):
    if event == "os.rename" and Path(values[1]).match("checkpoints/*/*.json"):
        print(Path(values[1]).name, file=journal)

sys.addaudithook(record)
logging.basicConfig(level=logging.INFO)
test_adapt.adapting(folder, base_model, trained, test_adapt.ON, checkpoints=checkpoints)
parallel.leave()
"""
"""A program that runs the stage; each process lists the rows that it writes."""


def started(folder, base_model, trained, launch=ONE, checkpoints=None):
    """Start the stage as a process of its own."""
    files.write_text(folder / "adapt.py", ADAPT)
    checkpoints = checkpoints or folder / "checkpoints"
    return start(launch, str(folder / "adapt.py"), folder, base_model, trained, checkpoints)


def test_two_processes_share_the_tasks_and_have_the_results_of_one(
    tmp_path, base_model, trained, adapted
):
    finish(started(tmp_path, base_model, trained, TWO))
    rows = [(tmp_path / f"rank-{rank}").read_text().splitlines() for rank in (0, 1)]
    # Tasks without samples are one group.
    assert rows == [["0a.json", "0c.json", "0d.json"], ["0b.json"]]
    one, two = (
        pd.read_csv(folder / "adapt.csv").drop(columns="seconds") for folder in (adapted, tmp_path)
    )
    # The computation of a task is the same in every process.
    pd.testing.assert_frame_equal(two, one, check_exact=True)
    for name in ("0a", "0b"):
        assert weights(tmp_path, name) == weights(adapted, name)


def test_a_process_without_a_task_leaves_the_others_their_results(
    tmp_path, base_model, trained, adapted
):
    shutil.copytree(trained / "adapter", tmp_path / "one/adapter")
    tasks.write(tmp_path / "one/validation.parquet", ASKED[:1])
    finish(started(tmp_path, base_model, tmp_path / "one", TWO))
    assert pd.read_csv(tmp_path / "adapt.csv", index_col="task").status.to_dict() == {
        "0a": "adapted"
    }
    assert weights(tmp_path, "0a") == weights(adapted, "0a")


def test_a_killed_run_resumes_with_the_first_task_without_a_row(
    tmp_path, base_model, trained, adapted
):
    process = started(tmp_path, base_model, trained)
    while not [*tmp_path.glob("checkpoints/*/0a.json")]:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    kill(process)
    [work] = (tmp_path / "checkpoints").glob("[!.]*")
    assert not (work / "0b.json").exists()
    assert not (tmp_path / "adapt.csv").exists()
    before = (work / "0a/adapter_model.safetensors").stat().st_mtime_ns
    # As if the kill had come while this file was written.
    files.write_text(work / "0b/adapter_model.safetensors", "half of it")

    found = run(tmp_path, base_model, trained, ON)

    assert found.index.tolist() == ["0a", "0b", "0c", "0d"]
    # A copy has the modification time of its original.
    after = tmp_path / "adapted/0a/adapter_model.safetensors"
    assert after.stat().st_mtime_ns == before
    for name in ("0a", "0b"):
        assert weights(tmp_path, name) == weights(adapted, name)


@pytest.mark.parametrize("launch", [ONE, TWO])
def test_of_two_equal_runs_at_once_one_trains_and_the_other_finds_the_result(
    tmp_path, base_model, trained, adapted, launch
):
    folders = [tmp_path / name for name in ("first", "second")]
    shared = tmp_path / "checkpoints"
    waiting = "waiting for another process, which makes"
    runs = launching.begin_twice(
        lambda one: started(one, base_model, trained, launch, shared),
        folders,
        lambda: [*shared.glob("*/0a.json")],
        waiting,
    )
    runs[0].signal(signal.SIGCONT)
    logs = [finish(run) for run in runs]

    assert [log.count(waiting) for log in logs] == [0, 1]
    # Even the seconds are equal, which another training would not repeat.
    first, second = ((one / "adapt.csv").read_bytes() for one in folders)
    assert first == second
    for one in folders:
        assert store.address(one / "adapted") == store.address(adapted / "adapted")


DAMAGES = {
    "row": lambda work: (work / "0a.json").write_text("{}"),
    "half a row": lambda work: (work / "0a.json").write_text('{"sha256": "'),
    "no row": lambda work: (work / "0a.json").unlink(),
    "weights": lambda work: (work / "0a/adapter_model.safetensors").write_bytes(b"garbage"),
    "no weights": lambda work: (work / "0a/adapter_model.safetensors").unlink(),
    "no adapter": lambda work: shutil.rmtree(work / "0a"),
    "stray": lambda work: files.write_text(work / "0a/.config.abc.partial", "half"),
}
"""What happens to a finished task."""


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_task_is_fine_tuned_again_and_the_others_are_not(
    tmp_path, base_model, trained, adapted, damage
):
    shutil.copytree(adapted / "checkpoints", tmp_path / "checkpoints")
    [work] = (tmp_path / "checkpoints").glob("[!.]*")
    damage(work)

    found = run(tmp_path, base_model, trained, ON)

    assert store.address(tmp_path / "adapted") == store.address(adapted / "adapted")
    before = pd.read_csv(adapted / "adapt.csv", index_col="task")
    assert (found.seconds == before.seconds).to_dict() == {
        name: name != "0a" for name in ("0a", "0b", "0c", "0d")
    }


def test_a_stage_that_writes_over_an_unfinished_result_leaves_nothing_of_it(
    tmp_path, base_model, trained, adapted
):
    shutil.copytree(adapted / "checkpoints", tmp_path / "checkpoints")
    files.write_text(tmp_path / "adapted/0a/stale.bin", "half")
    run(tmp_path, base_model, trained, ON)
    assert store.address(tmp_path / "adapted") == store.address(adapted / "adapted")


def test_a_failed_task_is_logged_as_a_warning_and_answered_with_the_common_adapter(
    tmp_path, base_model, trained, caplog
):
    caplog.set_level(logging.INFO)
    # params.yaml may have no such learning rate.
    steep = scales.TestTime.model_validate(ON).model_copy(update={"learning_rate": 1e36})
    found = run(tmp_path, base_model, trained, steep)
    assert found.status[:2].tolist() == ["failed", "failed"]
    assert found.reason.str.contains("nan|inf")[:2].all()
    assert ("arcmix.adapt", logging.WARNING, "4 tasks: 2 failed, 2 skipped") in caplog.record_tuples
    again = run(tmp_path, base_model, trained, steep)
    # It is tried again: another process may have needed the memory.
    assert (again.seconds != found.seconds).tolist() == [True, True, False, False]
    assert answers(tmp_path, base_model, trained).grid[["0a", "0b"]].isna().all()
