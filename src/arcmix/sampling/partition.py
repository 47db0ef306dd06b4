"""The split of ARC-AGI-1 into training and validation tasks (arc24, notebook 005)."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from arcmix import checked
from arcmix.tasks import Task


def draw(evaluation: Sequence[Task], seed: int, count: int) -> list[Task]:
    """Draw validation tasks without replacement and return them in the order of the draw.

    With seed 7 and the 400 evaluation tasks sorted by id, a draw of 100 gives the tasks of
    arc24's `val_rs7.json`.

    Raises:
        ValueError: If there are fewer than `count` evaluation tasks.
    """
    if count > len(evaluation):
        raise ValueError(
            f"cannot draw {count} validation tasks from {len(evaluation)} evaluation tasks;"
            f" set partition.tasks to at most {len(evaluation)}"
        )
    by_id = {task.id: task for task in evaluation}
    # The published split was drawn with this legacy generator.
    chosen = np.random.RandomState(seed).choice(list(by_id), count, replace=False)
    return [by_id[id_] for id_ in chosen]


def tables(
    training: Sequence[Task], evaluation: Sequence[Task], validation: Sequence[Task]
) -> dict[str, list[Task]]:
    """Return the task tables of the split, by name.

    `new-train` contains the training tasks, followed by the evaluation tasks that were not drawn.
    `val-demonstrations` contains the demonstrations of the validation tasks without tests; a
    component's `n_minus` turns demonstrations into tests. In `val-n-1`, the first demonstration
    of each task is its test.
    """
    drawn = {task.id for task in validation}
    return {
        "train": list(training),
        "evaluation": list(evaluation),
        "new-train": [*training, *(task for task in evaluation if task.id not in drawn)],
        "val-n-1": n_minus_1(validation),
        "val-demonstrations": [replace(task, test=()) for task in validation],
    }


def n_minus_1(tasks: Iterable[Task]) -> list[Task]:
    """Return tasks with their first demonstration as the test; their own tests are dropped.

    Tasks with a single demonstration are left out (arc24 `create_n-1_dataset.py`).
    """
    return [
        replace(task, train=task.train[1:], test=task.train[:1])
        for task in tasks
        if len(task.train) > 1
    ]


def splits(tasks: Sequence[Task]) -> dict[str, list[Task]]:
    """Return the parts of a source that is not the partition's: each split, and `all`."""
    names = sorted({task.split for task in tasks})
    parts = {name: [task for task in tasks if task.split == name] for name in names}
    return parts | {"all": list(tasks)}


def shortest(tasks: Sequence[Task], count: int) -> list[Task]:
    """Return the `count` tasks with the fewest cells, in their order; the earlier one wins a tie.

    Raises:
        ValueError: If there are fewer than `count` tasks, or two tasks share an id, which has to
            identify a task in all results.
    """
    if count > len(tasks):
        raise ValueError(
            f"cannot measure {count} tasks: only {len(tasks)} found;"
            f" set the scale's validation.tasks to at most {len(tasks)}"
        )
    counts = Counter(task.id for task in tasks)
    if twice := [id_ for id_, number in counts.items() if number > 1]:
        raise ValueError(
            f"{len(twice)} of {len(counts)} ids occur more than once, such as {twice[0]!r};"
            " set measure.part to a split in which no two tasks share an id"
        )
    ranked = sorted(range(len(tasks)), key=lambda index: tasks[index].cells)
    return [tasks[index] for index in sorted(ranked[:count])]


def sha256(ids: Iterable[str]) -> str:
    """Return the sha256 of ids, joined by line breaks."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


@checked.OPEN
@dataclass(frozen=True)
class _Summary:
    """What later stages read of the summary."""

    measured_digest: checked.Digest


def read_digest(path: Path) -> str:
    """Return the digest of the validation tasks from the summary of the partition.

    Raises:
        ValueError: If the file is not a summary.
    """
    remedy = "repeat the partition: dvc repro -f -s partition"
    return checked.read_json(path, _Summary, remedy)["measured_digest"]


@checked.OPEN
@dataclass(frozen=True)
class _Measured:
    """The validation tasks in the summary."""

    measured: list[checked.TaskId]


def read_measured(path: Path) -> list[str]:
    """Return the ids of the validation tasks from the summary of the partition.

    Raises:
        ValueError: If the file is not a summary.
    """
    remedy = "repeat the partition: dvc repro -f -s partition"
    return checked.read_json(path, _Measured, remedy)["measured"]
