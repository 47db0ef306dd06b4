"""Headline numbers against the numbers of the tasks and of the steps.

`evaluation` computes the headline numbers from answers and losses, which are in DVC's cache. Most
of them follow as well from the table of tasks and from the history, which git shows. So a number
that was edited is found without the data of its run.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from arcmix.scoring import metrics
from arcmix.scoring.evaluation import TASK_COLUMNS
from arcmix.stats import shares

PRECISION = 2e-5
"""Relative difference of two numbers that counts as none; tables have six significant digits."""

UNPROVEN = (
    "answering_val_loss",
    "stop_rate",
    "val_loss_per_cell",
    "val_loss_per_prompt",
    "val_prompts_kept",
)
"""Headline numbers that follow from the answers and the losses alone. Without the data of the run,
they cannot be verified."""

Values = Mapping[str, Any]


def problems(headline: Values, tasks: Sequence[Values], history: Sequence[Values]) -> list[str]:
    """Return where headline numbers contradict the numbers of the tasks and of the steps.

    Args:
        headline: Name -> value of the headline numbers.
        tasks: The metrics and losses of each task, at least one.
        history: The measurements by ascending step, at least one.
    """
    names = ("tests", "clean", *TASK_COLUMNS, "val_loss", "answering_loss_per_cell")
    if lacking := sorted({name for task in tasks for name in {*names} - {*task}}):
        return [f"the tasks have no {', '.join(lacking)}"]
    found = [
        *contradictions(headline, _of_tasks(headline, tasks), "the tasks give"),
        *contradictions(headline, _of_steps(headline, history), "the history gives"),
    ]
    losses = _known(tasks, "val_loss")
    last = history[-1]["val_loss"]
    # A mean over all tokens, so it lies between the losses of two tasks.
    if losses and not _between(last, min(losses), max(losses)):
        found.append(
            f"the last val_loss of the history is {last:.6g}, but the losses of the tasks are"
            f" {min(losses):.6g} to {max(losses):.6g}"
        )
    return found


def contradictions(headline: Values, expected: Mapping[str, float], source: str) -> list[str]:
    """Return which numbers are not as expected.

    Args:
        headline: Name -> value.
        expected: Name -> the value that it has to have, but for `PRECISION`.
        source: What gives the expected values, with a verb.
    """
    return [
        f"{name} is {_shown(headline.get(name))}, but {source} {value:.6g}"
        for name, value in expected.items()
        if name not in headline or not _close(headline[name], value)
    ]


def _of_tasks(headline: Values, tasks: Sequence[Values]) -> dict[str, float]:
    """Return the headline numbers that follow from the tasks."""
    clean = [task for task in tasks if task["clean"]]
    expected: dict[str, float] = {
        "clean_tasks": len(clean),
        "val_tasks": len(tasks),
        "val_tests": sum(task["tests"] for task in tasks),
    }
    for name in TASK_COLUMNS:
        expected[name] = math.fsum(task[name] for task in tasks) / len(tasks)
    for name in metrics.HEADLINE:
        # The interval of the number itself, which has more digits than the table of tasks.
        share = min(1.0, max(0.0, headline.get(name, expected[name])))
        expected[f"{name}_low"], expected[f"{name}_high"] = shares.interval(share, len(tasks))
    if clean:
        expected |= {
            f"clean_{name}": math.fsum(task[name] for task in clean) / len(clean)
            for name in metrics.HEADLINE
        }
    for name, column, own in (
        ("val_loss_per_task", "val_loss", tasks),
        ("answering_loss_per_cell", "answering_loss_per_cell", tasks),
        ("clean_answering_loss_per_cell", "answering_loss_per_cell", clean),
    ):
        if losses := _known(own, column):
            expected[name] = math.fsum(losses) / len(losses)
    return expected


def _of_steps(headline: Values, history: Sequence[Values]) -> dict[str, float]:
    """Return the headline numbers that follow from the history."""
    losses = {entry["step"]: entry["val_loss"] for entry in history}
    last, lowest = history[-1], min(losses.values())
    # Two steps may have equal losses in six digits.
    best = [step for step, loss in losses.items() if _close(loss, lowest)]
    named = headline.get("best_val_step")
    expected = {
        "steps": last["step"],
        "val_loss": last["val_loss"],
        "val_loss_step_0": history[0]["val_loss"],
        "best_val_loss": lowest,
        "best_val_step": named if named in best else best[0],
    }
    if last["train_loss"] is not None:
        expected["train_loss"] = last["train_loss"]
    return expected


def _known(tasks: Sequence[Values], column: str) -> list[float]:
    return [task[column] for task in tasks if task[column] is not None]


def _close(first: float, second: float) -> bool:
    return math.isclose(first, second, rel_tol=PRECISION, abs_tol=1e-9)


def _between(value: float, low: float, high: float) -> bool:
    return low < value < high or _close(value, low) or _close(value, high)


def _shown(value: float | None) -> str:
    return "missing" if value is None else f"{value:.6g}"
