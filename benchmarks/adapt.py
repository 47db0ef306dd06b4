"""Test-time fine-tuning of several tasks: all in one call, as stage `adapt` does it, or one by one.

- `one by one`: `adaptation.run` for one task after the other.
- `arcmix`: `adaptation.run` for all tasks.

Loading the model is left out: it is timed with a task that cannot be trained on, and subtracted for
each call. All tasks take all steps. The benchmark verifies that the held-out losses of each task
are equal in both ways. On a card, each way runs twice, and the first time warms up.
"""

import argparse
import dataclasses
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from arcmix.models import pretrained
from arcmix.tasks import Task
from arcmix.training import adaptation, outcomes
from benchmarks import harness
from benchmarks.harness import Setting, Used

TOLERANCE = {"float32": 1e-3, "bfloat16": 0.05}
"""Maximum relative difference of two losses that should be equal."""

HEAD = ("s", "wall s", "load s", "tasks/s", "steps/s", "peak MiB", "loss", "x")


@dataclass(frozen=True)
class Result:
    """What one run of a way took and gave."""

    used: Used
    """Time without loading the model, and memory with it."""
    load: float
    """Seconds of loading the model once."""
    rows: list[outcomes.Row]
    """The outcome of each task."""


def measure(setting: Setting, settings: adaptation.Settings, calls: Sequence[list[Task]]) -> Result:
    """Fine-tune on the tasks of each call; call this by `harness.alone`."""
    torch.set_num_threads(setting.threads)
    pretrained.quiet()
    untrained = dataclasses.replace(calls[0][0], train=calls[0][0].train[:1])
    # The first time loads libraries too.
    _run(setting, settings, [[untrained]])
    load, _ = _run(setting, settings, [[untrained]])
    if harness.on_card():
        _run(setting, settings, calls)
    used, rows = _run(setting, settings, calls)
    return Result(
        Used(
            used.seconds - len(calls) * load.seconds,
            used.wall - len(calls) * load.wall,
            used.peak,
        ),
        load.seconds,
        rows,
    )


def _run(
    setting: Setting, settings: adaptation.Settings, calls: Sequence[list[Task]]
) -> tuple[Used, list[outcomes.Row]]:
    meter, rows = harness.Meter(), []
    for tasks in calls:
        with tempfile.TemporaryDirectory() as work:
            rows += adaptation.run(
                setting.base_model, setting.adapter, "last", tasks, settings, Path(work)
            )
        harness.forget()
    return meter.read(), rows


def check(rows: Sequence[outcomes.Row], others: Sequence[outcomes.Row], dtype: str) -> None:
    """Check that two ways trained alike.

    Raises:
        ValueError: If their steps or losses differ.
    """
    for one, other in zip(rows, others, strict=True):
        losses = np.array([[row["loss_before"], row["loss_after"]] for row in (one, other)])
        if one["steps"] != other["steps"] or not np.allclose(*losses, rtol=TOLERANCE[dtype]):
            raise ValueError(
                f"{one['task']}: alone it takes {one['steps']} steps, with losses {losses[0]}"
                f" before and after; with other tasks {other['steps']} steps and {losses[1]}; they"
                " have to be equal: correct arcmix.training.adaptation"
            )


def compare(
    setting: Setting, settings: adaptation.Settings, tasks: Sequence[Task], repeats: int
) -> None:
    """Run both ways alternately and print a table with a row for each."""
    calls = {"one by one": [[task] for task in tasks], "arcmix": [[*tasks]]}
    found: dict[str, list[Result]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, results in found.items():
            results.append(harness.alone(measure, setting, settings, calls[name]))
    one, other = (results[0].rows for results in found.values())
    check(one, other, setting.dtype)
    baseline = statistics.median(each.used.seconds for each in found["one by one"])
    rows = []
    for name, results in found.items():
        seconds = statistics.median(each.used.seconds for each in results)
        outcome = results[0].rows
        cells = [
            f"{seconds:.2f}",
            f"{statistics.median(each.used.wall for each in results):.2f}",
            f"{statistics.median(each.load for each in results):.2f}",
            f"{len(tasks) / seconds:.2f}",
            f"{sum(row['steps'] for row in outcome) / seconds:.2f}",
            f"{results[-1].used.peak:,.0f}",
            f"{np.mean([row['loss_after'] for row in outcome]):.4f}",
            f"{baseline / seconds:.2f}",
        ]
        rows.append((name, cells))
    harness.table(
        f"{len(tasks)} tasks",
        HEAD,
        rows,
        f"{harness.where(setting)}; {len(tasks)} tasks, {settings.test_time.steps} steps of"
        f" {settings.test_time.batch} samples of at most {settings.finetune.max_tokens} tokens,"
        f" {settings.finetune.micro_tokens:,} tokens a row.",
    )


def main() -> None:
    """Run the benchmark."""
    parser = harness.parser(__doc__, "data/validation.parquet")
    parser.add_argument("--count", type=int, help="tasks; default: 32 on a card, else 4")
    parser.add_argument("--steps", type=int, default=10, help="of each task")
    parser.add_argument("--batch", type=int, help="samples of a step")
    parser.add_argument("--micro-tokens", type=int, help="tokens of a row")
    given = parser.parse_args()
    with harness.started(given) as setting:
        compare(setting, *_chosen(setting, given), given.repeats)


def _chosen(
    setting: Setting, given: argparse.Namespace
) -> tuple[adaptation.Settings, Sequence[Task]]:
    """Return the settings and the tasks of a command line.

    Raises:
        ValueError: If there are too few tasks.
    """
    own = setting.test_time.model_copy(
        update={
            "steps": given.steps,
            "batch": given.batch or setting.test_time.batch,
            # So many losses are never measured: no task stops early.
            "patience": given.steps + 1,
        }
    )
    tokens = given.micro_tokens or setting.finetune.micro_tokens
    finetune = setting.finetune.model_copy(update={"micro_tokens": tokens, "too_long": "shorten"})
    settings = adaptation.Settings(
        setting.augment,
        finetune,
        own,
        harness.SEED,
        harness.SEED,
        adaptation.group_tokens(finetune),
    )
    fitting = [
        task
        for task in setting.tasks
        if len(task.train) > 1 and _length(task) <= finetune.max_tokens
    ]
    count = given.count or (32 if harness.on_card() else 4)
    if len(fitting) < count:
        raise ValueError(
            f"{len(fitting)} tasks have at least two demonstrations and at most"
            f" {finetune.max_tokens} tokens, and --count is {count}; lower it, or set other --tasks"
        )
    return settings, fitting[:count]


def _length(task: Task) -> int:
    """Return about the number of tokens of the demonstrations: one for each cell and each row."""
    grids = [grid for pair in task.train for grid in (pair.input, pair.output)]
    return sum(grid.size + len(grid) + 2 for grid in grids)


if __name__ == "__main__":
    main()
