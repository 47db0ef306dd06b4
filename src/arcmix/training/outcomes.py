"""The table of test-time fine-tuning: what it came to for each task."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from arcmix import files


@dataclass(frozen=True)
class Outcome:
    """The result of test-time fine-tuning on one task."""

    status: Literal["adapted", "unchanged", "skipped", "failed"]
    """adapted: the adapter is better than its start; unchanged: no step improved it; skipped: the
    task has nothing to train on; failed: the training broke."""
    reason: str
    """Why it ended."""
    steps: int
    """Optimizer steps done."""
    best_step: int | None
    """The step whose weights are kept."""
    loss_before: float | None
    """Mean loss per answer token on the held-out demonstrations before the first step, in nats."""
    loss_after: float | None
    """The same loss with the weights that are kept."""


Row = dict[str, Any]
"""An outcome with the task's id and the seconds that it took."""

COLUMNS = ["task", *(field.name for field in dataclasses.fields(Outcome)), "seconds"]
"""Columns of the table, one row a task."""


def as_row(task: str, outcome: Outcome, seconds: float) -> Row:
    """Return the row of a task."""
    return {"task": task} | dataclasses.asdict(outcome) | {"seconds": seconds}


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write the table; it has no rows where no task was fine-tuned."""
    files.write_csv(path, pd.DataFrame(rows, columns=COLUMNS))


def read_statuses(path: Path) -> dict[str, int]:
    """Return the number of tasks by status."""
    return dict(Counter(pd.read_csv(path)["status"]))


def adapted(rows: Sequence[Row]) -> list[str]:
    """Return the ids of the tasks that have an adapter of their own."""
    return [row["task"] for row in rows if row["status"] == "adapted"]
