"""A training dataset: the concatenated entries of its components."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from arcmix.tasks import Task


@dataclass(frozen=True)
class Part:
    """The entries of one component: the tasks from which samples are drawn."""

    table: str
    tasks: int
    entries: tuple[Task, ...]
    weight: int
    digest: str


def dropped(audit: Mapping[str, Any], tables: Sequence[str]) -> list[frozenset[str]]:
    """Return the ids that the audit drops from each table of a dataset.

    Raises:
        ValueError: If the audit is of other tables.
    """
    audited = [one["table"] for one in audit["components"]]
    if audited != [*tables]:
        raise ValueError(f"the audit is of tables {audited}, not of {[*tables]}; run: dvc repro")
    return [frozenset(one["dropped"]) for one in audit["components"]]


def uses_validation(audit: Mapping[str, Any]) -> bool:
    """Return whether, according to the audit, training uses pairs of the validation tasks."""
    return any(one["similar"] > 0 and not one["dropped"] for one in audit["components"])


def part(table: str, found: Sequence[Task], *, per_test: bool, weight: int, digest: str) -> Part:
    """Return the entries of a component.

    Args:
        table: Name of the task table.
        found: The tasks that the component uses.
        per_test: Whether a task with k tests becomes k entries with one test each, as in arc24's
            `create_single_output_tasks`.
        weight: Number of times that each entry is drawn in one pass.
        digest: Digest of the whole table, which does not depend on the seed.

    Raises:
        ValueError: If there are no tasks, or a task has no test.
    """
    if not found:
        raise ValueError(
            f"no tasks in table {table!r}: it was not downloaded, or its component selects none;"
            " run: dvc repro, or check the settings of the component"
        )
    if not all(task.test for task in found):
        raise ValueError(
            f"table {table!r} has tasks without tests; set n_minus of its component to 1 or 2,"
            " so that demonstrations become tests"
        )
    entries = (
        [replace(task, test=(test,)) for task in found for test in task.test] if per_test else found
    )
    distinct = {(task.source, task.split, task.id) for task in found}
    return Part(table, len(distinct), tuple(entries), weight, digest)


def slots(parts: Iterable[Part]) -> list[int]:
    """Return the entry numbers of one pass, each repeated by its weight."""
    drawn: list[int] = []
    first = 0
    for item in parts:
        drawn += [first + number for number in range(len(item.entries))] * item.weight
        first += len(item.entries)
    return drawn


def summary(
    parts: Sequence[Part], samples: Sequence[int], *, uses_validation: bool
) -> dict[str, Any]:
    """Return the number of tasks, entries and samples of a dataset and of each component.

    `tasks` and `entries` are the columns "tasks" and "tasks variations" of the table in
    arc24's iteration 7.
    """
    return {
        "tasks": sum(item.tasks for item in parts),
        "entries": sum(len(item.entries) for item in parts),
        "samples": sum(samples),
        "uses_validation_demonstrations": uses_validation,
        "components": [
            {
                "table": item.table,
                "tasks": item.tasks,
                "entries": len(item.entries),
                "weight": item.weight,
                "samples": count,
                "digest": item.digest,
            }
            for item, count in zip(parts, samples, strict=True)
        ],
    }


def seen(drawn: Mapping[str, Any], entries: np.ndarray) -> list[dict[str, Any]]:
    """Return the number of samples drawn from each component, and its number of epochs.

    Args:
        drawn: The summary of the dataset.
        entries: Entry number of each sample, int64 (n,).
    """
    sizes = [one["entries"] for one in drawn["components"]]
    numbers = np.searchsorted(np.cumsum(sizes), entries, side="right")
    counts = np.bincount(numbers, minlength=len(sizes)).tolist()
    return [
        {"table": one["table"], "samples": count, "epochs": count / one["entries"]}
        for one, count in zip(drawn["components"], counts, strict=True)
    ]
