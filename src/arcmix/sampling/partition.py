"""The split of ARC-AGI-1 into training and validation tasks (arc24, notebook 005)."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from arcmix.tasks import Task


def draw(evaluation: Sequence[Task], seed: int, count: int) -> list[Task]:
    """Return validation tasks drawn without replacement, in the order in which they come.

    With seed 7 and 100 of the 400 evaluation tasks in the order of their ids, these are
    the tasks of arc24's `val_rs7.json`.

    Raises:
        ValueError: If there are fewer tasks than are to be drawn.
    """
    if count > len(evaluation):
        raise ValueError(
            f"cannot draw {count} validation tasks from {len(evaluation)} evaluation tasks;"
            f" set partition.tasks to at most {len(evaluation)}"
        )
    by_id = {task.id: task for task in evaluation}
    # The legacy generator, because the published split was drawn with it.
    chosen = np.random.RandomState(seed).choice(list(by_id), count, replace=False)
    return [by_id[id_] for id_ in chosen]


def tables(
    training: Sequence[Task], evaluation: Sequence[Task], validation: Sequence[Task]
) -> dict[str, list[Task]]:
    """Return the task tables that the split gives, by name.

    `new-train` is the training tasks and then the evaluation tasks that were not drawn;
    `val-demonstrations` is the demonstrations of the validation tasks, without a test: a
    component leaves them out by `n_minus`. `val-n-1` is the same with the first of them as test.
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
    """Return tasks whose test is their first demonstration; their own tests are not used.

    A task of a single demonstration is left out (arc24 `create_n-1_dataset.py`).
    """
    return [
        replace(task, train=task.train[1:], test=task.train[:1])
        for task in tasks
        if len(task.train) > 1
    ]


def splits(tasks: Sequence[Task]) -> dict[str, list[Task]]:
    """Return the parts that a source other than the partition's gives: its splits, and `all`."""
    names = sorted({task.split for task in tasks})
    parts = {name: [task for task in tasks if task.split == name] for name in names}
    return parts | {"all": list(tasks)}


def shortest(tasks: Sequence[Task], count: int) -> list[Task]:
    """Return the tasks of fewest cells, in their given order; ties go to the earlier one.

    Raises:
        ValueError: If there are fewer tasks than asked for, or two share an id, by which all
            results go.
    """
    if count > len(tasks):
        raise ValueError(
            f"cannot measure {count} of {len(tasks)} tasks;"
            f" set the scale's validation.tasks to at most {len(tasks)}"
        )
    counts = Counter(task.id for task in tasks)
    if twice := [id_ for id_, number in counts.items() if number > 1]:
        raise ValueError(
            f"{len(twice)} ids are of more than one task, first {twice[0]!r};"
            " set measure.part to a split in which no two tasks share an id"
        )
    ranked = sorted(range(len(tasks)), key=lambda index: tasks[index].cells)
    return [tasks[index] for index in sorted(ranked[:count])]


def sha256(ids: Iterable[str]) -> str:
    """Return the sha256 of ids, one a line."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()
