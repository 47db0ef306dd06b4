"""The fine-tune as a program, in one process and in two, killed and resumed."""

import json
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pandas.testing import assert_frame_equal

from arcmix import files, tasks
from arcmix.ledger import store
from arcmix.models import pretrained
from arcmix.sampling import augment, sample_table
from arcmix.tasks import Pair, Task
from arcmix.training import checkpoints
from arcmix.training.checkpoints import MEASURED
from tests import launching, tolerance
from tests.arc import mixed, task
from tests.launching import ONE, REAL, TWO, finish
from tests.sampling.test_augment import make
from tests.training.test_trainer import settings

ROOT = Path(__file__).parents[2]
TASKS = [task(f"of-{pairs}", train=pairs) for pairs in (2, 3, 4)]
SPEEDS = ["tokens_per_second", "answer_tokens_per_second", "seconds_per_step"]


def prepare(
    folder,
    base_model,
    *,
    entries=TASKS,
    validation=TASKS,
    report_to="none",
    checkpoints=None,
    **changes,
):
    """Write the inputs of a fine-tune on three tasks, or on others; return the stage's flags.

    Runs with the same folder of checkpoints share the one of their key.
    """
    folder.mkdir(exist_ok=True)
    tasks.write(folder / "validation.parquet", validation)
    slots = np.arange(len(entries))
    drawn = augment.draw(augment.pool(entries), slots, make(), 0, 0, 19)
    sample_table.write(folder / "samples.parquet", iter([drawn]))
    files.write_json(folder / "mix.json", mixed("all", len(entries)))
    files.write_json(folder / "initial" / "start.json", {"adapter": "none"})
    files.write_text(folder / "code", launching.fingerprint("finetune"))
    scale = {
        "prompt": {"format": "bare", "encoder": ["minimal"]},
        "finetune": settings(max_tokens=400, **changes).model_dump(mode="json"),
        "validation": {"max_tokens": 400},
    }
    values = {
        "scale": "tiny",
        "seed": 0,
        "init_seed": "seed",
        "report_to": report_to,
        "scales": {"tiny": scale},
    }
    (folder / "params.yaml").write_text(json.dumps(values))
    return {
        "params": folder / "params.yaml",
        "code": folder / "code",
        "base-model": base_model,
        "initial": folder / "initial",
        "samples": folder / "samples.parquet",
        "mix-file": folder / "mix.json",
        "validation": folder / "validation.parquet",
        "checkpoints": checkpoints or folder / "checkpoints",
        "tracking": folder / "tracking",
        "adapter": folder / "adapter",
        "losses": folder / "losses.parquet",
        "history": folder / "history.csv",
        "summary": folder / "training.json",
        "machine": folder / "machine.json",
    }


def start(folder, base_model, launch=ONE, *, program="-m stages.finetune", **choices):
    """Start a fine-tune on prepared inputs, with the command of the pipeline."""
    flags = prepare(folder, base_model, **choices)
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return launching.start(launch, program, *words)


def history(folder):
    """Return the history of a run without its speeds, which differ from run to run."""
    return pd.read_csv(folder / "history.csv").drop(columns=SPEEDS)


def adapter(folder):
    """Return the address of the adapter folder of a run, a hash of all its files."""
    return store.address(folder / "adapter")


STEPS = {"budget": 30, "micro_tokens": 200, "learning_rate": 0.001}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, base_model):
    """A function that returns the folder of an uninterrupted run."""
    found = {}

    def run(launch):
        if launch not in found:
            found[launch] = tmp_path_factory.mktemp("whole")
            log = finish(start(found[launch], base_model, launch, **STEPS))
            assert log.count("step 30: validation loss") == 1
        return found[launch]

    return run


def test_two_processes_have_the_same_history_as_one(whole):
    one, two = whole(ONE), whole(TWO)
    within = tolerance.training("float32")
    tolerance.assert_frames_close(history(two), history(one), within)
    losses = [pd.read_parquet(folder / "losses.parquet") for folder in (one, two)]
    tolerance.assert_frames_close(losses[1], losses[0], within)
    assert history(one).val_loss.iloc[-1] < history(one).val_loss.iloc[0] - 0.1


WITNESS = """
import os
import sys
from arcmix import program
from arcmix.models import parallel
from stages import finetune

written = open(sys.argv.pop(1) + os.environ["RANK"], "w", buffering=1)

def record(event, values):
    if event == "open" and values[2] & (os.O_WRONLY | os.O_RDWR):
        print(values[0], file=written)
    if event == "os.rename":
        print(values[1], file=written)

sys.addaudithook(record)
sys.argv[0] = finetune.__file__
program.main(finetune.run)
parallel.leave()
"""
"""A program in which each process lists the files that it writes."""


def test_no_file_is_written_by_both_processes(tmp_path, base_model):
    (tmp_path / "witness.py").write_text(WITNESS)
    program = f"{tmp_path / 'witness.py'} {tmp_path / 'written'}"
    finish(start(tmp_path / "run", base_model, TWO, program=program, budget=4))

    found = [(tmp_path / f"written{rank}").read_text().splitlines() for rank in (0, 1)]
    first, other = ({one for one in paths if str(tmp_path / "run") in one} for paths in found)
    assert {Path(one).name for one in first} > {"adapter_config.json", MEASURED}
    assert first & other == set()


@pytest.mark.parametrize("launch", [ONE, TWO])
def test_a_killed_run_resumes_and_has_the_same_result(tmp_path, base_model, whole, launch):
    process = start(tmp_path, base_model, launch, **STEPS)
    while not [*tmp_path.glob(f"checkpoints/*/*/{MEASURED}")]:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    launching.kill(process)
    # The history is written during the run.
    assert 2 <= len(history(tmp_path)) < len(history(whole(launch)))

    log = finish(start(tmp_path, base_model, launch, **STEPS))

    assert "arcmix.finetune: resuming at" in log
    # The same number of processes repeats the same steps from the same state.
    assert_frame_equal(history(tmp_path), history(whole(launch)), check_exact=True)
    assert adapter(tmp_path) == adapter(whole(launch))


WAITS = "arcmix.files: waiting for another process, which makes"
FINDS = "arcmix.finetune: an earlier run has finished"


def begin_twice(folder, base_model, launch):
    """Return a run that is suspended in its steps, and an equal one that waits for it."""
    shared = folder / "checkpoints"
    return launching.begin_twice(
        lambda one: start(one, base_model, launch, checkpoints=shared, **STEPS),
        [folder / name for name in ("first", "second")],
        lambda: [*shared.glob(f"*/*/{MEASURED}")],
        WAITS,
    )


@pytest.mark.parametrize("launch", [ONE, TWO])
def test_of_two_equal_runs_at_once_one_trains_and_the_other_finds_the_result(
    tmp_path, base_model, whole, launch
):
    folders = [tmp_path / name for name in ("first", "second")]
    runs = begin_twice(tmp_path, base_model, launch)
    runs[0].signal(signal.SIGCONT)
    logs = [finish(run) for run in runs]

    assert [(log.count(WAITS), log.count(FINDS)) for log in logs] == [(0, 0), (1, 1)]
    # Even the speeds are equal, which another training would not repeat.
    first, second = ((one / "history.csv").read_bytes() for one in folders)
    assert first == second
    for one in folders:
        assert_frame_equal(history(one), history(whole(launch)), check_exact=True)
        assert adapter(one) == adapter(whole(launch))
        assert (one / "losses.parquet").read_bytes() == (
            whole(launch) / "losses.parquet"
        ).read_bytes()


@pytest.mark.parametrize("launch", [ONE, TWO])
def test_a_run_that_waits_for_one_that_is_killed_resumes_it(tmp_path, base_model, whole, launch):
    first, second = begin_twice(tmp_path, base_model, launch)
    launching.kill(first)

    log = finish(second)

    assert log.count(WAITS) == log.count("arcmix.finetune: resuming at") == 1
    assert_frame_equal(history(tmp_path / "second"), history(whole(launch)), check_exact=True)
    assert adapter(tmp_path / "second") == adapter(whole(launch))


LOOK = """
import os
import sys
from pathlib import Path
from arcmix.models import parallel
from arcmix.training import checkpoints

folder = Path(sys.argv[1])
rank = os.environ["RANK"]
(folder / f"found{rank}").write_text(str(checkpoints.newest(folder / rank)))
parallel.leave()
"""
"""A program in which each process writes which checkpoint it finds in its own folder."""


def test_processes_that_see_different_checkpoints_resume_at_that_of_rank_0(tmp_path):
    for rank, step in (("0", 8), ("0", 10), ("1", 10), ("1", 12)):
        checkpoint = tmp_path / rank / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        checkpoints.complete(checkpoint, [{"step": step, "val_loss": 1.0}])
    (tmp_path / "look.py").write_text(LOOK)

    finish(launching.start(TWO, str(tmp_path / "look.py"), tmp_path))

    newest = tmp_path / "0" / "checkpoint-10"
    assert [(tmp_path / f"found{rank}").read_text() for rank in (0, 1)] == [str(newest)] * 2
    assert [*(tmp_path / "0").iterdir()] == [newest]
    assert len([*(tmp_path / "1").iterdir()]) == 2


def test_processes_that_cannot_share_a_batch_report_one_error(tmp_path, base_model):
    log = finish(start(tmp_path, base_model, REAL, batch=5), status=1)
    assert (
        log.count("error in finetune: 2 processes cannot share a batch of 5 samples equally") == 1
    )
    assert log.count("arcmix.corpus: 19 training samples") == 1


def painted(color):
    """Return a task whose grids have one color."""
    grids = [np.full((1 + number, 2), color, np.uint8) for number in range(3)]
    pairs = tuple(Pair(one, one) for one in grids)
    return Task(f"painted-{color}", "arc", "training", 0, pairs[:2], pairs[2:])


def blinded(base_model, folder, color):
    """Write a copy of a model whose logits are NaN after it reads a color."""
    tokenizer, one = pretrained.load_tokenizer(base_model), pretrained.load(base_model, "float32")
    one.config.tie_word_embeddings = False
    one.lm_head.weight = torch.nn.Parameter(one.lm_head.weight.detach().clone())
    [seen] = one.get_input_embeddings().parameters()
    with torch.no_grad():
        seen[pretrained.token_id(tokenizer, str(color))] = torch.nan
    one.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("place", "step"), [(1, 1), (6, 2)], ids=["in-the-first", "in-the-other"])
def test_a_loss_that_is_not_finite_in_one_process_stops_both_with_one_error(
    tmp_path, base_model, place, step
):
    # The first process has the first two of the four samples of a step.
    entries = [painted(color) for color in range(1, 9)]
    order = augment.draw(augment.pool(entries), np.arange(8), make(), 0, 0, 19).entries
    blind = blinded(base_model, tmp_path / "blind", color=order[place] + 1)
    run = STEPS | {"entries": entries, "validation": [painted(0)], "micro_tokens": 1}

    log = finish(start(tmp_path / "run", blind, REAL, **run), status=1)

    message = f"the loss must be finite, got nan at step {step}, samples [{place}]; lower the"
    assert log.count(f"error in finetune: {message}") == log.count("error in finetune") == 1


def test_a_tracker_records_the_run_and_does_not_change_it(tmp_path, base_model, whole):
    finish(start(tmp_path, base_model, report_to="tensorboard", **STEPS))
    [events] = tmp_path.glob("tracking/*/events.out.tfevents.*")
    assert b"train/loss" in events.read_bytes()
    assert adapter(tmp_path) == adapter(whole(ONE))
