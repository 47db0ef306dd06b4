"""The table of test-time fine-tuning: its outcome for each task."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from arcmix import checked, files

REMEDY = "repeat the stage that writes the table: dvc repro -f -s adapt"
"""End of the error about a wrong table."""


@checked.STRICT
@dataclass(frozen=True)
class Outcome:
    """The result of test-time fine-tuning on one task."""

    status: Literal["adapted", "unchanged", "skipped", "failed"]
    """adapted: fine-tuning lowered the loss; unchanged: it did not; skipped: the task has no
    training data; failed: fine-tuning ended with an error."""
    reason: checked.Text
    """Why fine-tuning ended, or why it did not start."""
    steps: checked.Count
    """Number of optimizer steps taken."""
    best_step: checked.Count | None
    """The step whose weights were kept; none for a skipped or failed task."""
    loss_before: checked.Number | None
    """Mean loss on the held-out demonstrations before the first step, in nats per answer token."""
    loss_after: checked.Number | None
    """The same loss with the kept weights."""


Row = dict[str, Any]
"""An outcome with the id of its task and its duration in seconds."""

COLUMNS = ["task", *(field.name for field in dataclasses.fields(Outcome)), "seconds"]
"""Columns of the table; it has one row per task."""


@checked.STRICT
@dataclass(frozen=True)
class _Stored(Outcome):
    """A row as it is read."""

    task: checked.TaskId
    seconds: checked.Natural


def as_row(task: str, outcome: Outcome, seconds: float) -> Row:
    """Return the row of a task."""
    return {"task": task} | dataclasses.asdict(outcome) | {"seconds": seconds}


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write the table; it has no rows if test-time fine-tuning is off."""
    files.write_csv(path, pd.DataFrame(rows, columns=COLUMNS))


def read_statuses(path: Path) -> dict[str, int]:
    """Return the number of tasks of each status in a table.

    Raises:
        ValueError: If the table has a wrong value, or a task twice.
    """
    rows = checked.read_csv(path, _Stored, REMEDY)
    tasks = Counter(row.task for row in rows)
    if twice := [task for task, count in tasks.items() if count > 1]:
        raise ValueError(f"{path}: task {twice[0]!r} has more than one row; each has one; {REMEDY}")
    return dict(Counter(row.status for row in rows))


def adapted(rows: Sequence[Row]) -> list[str]:
    """Return the ids of the tasks with status `adapted`, which have their own adapters."""
    return [row["task"] for row in rows if row["status"] == "adapted"]


def read_adapted(path: Path) -> list[str]:
    """Return the ids of the tasks with their own adapters, from `tasks.json`.

    Raises:
        ValueError: If the file is not a list of ids.
    """
    return checked.read_json(path, list[checked.TaskId], REMEDY)
