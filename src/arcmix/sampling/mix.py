"""A training dataset: the concatenated entries of its components."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from arcmix import checked, tasks
from arcmix.config import origins, params
from arcmix.config.document import unknown
from arcmix.sampling import narrow
from arcmix.tasks import Task

Table = tuple[str, Sequence[Task]]
"""Name and tasks of a task table."""


@checked.STRICT
@dataclass(frozen=True)
class _Drawn:
    """The counts of a component, as they are read."""

    table: checked.Text
    tasks: checked.Positive
    entries: checked.Positive
    weight: checked.Positive
    samples: checked.Count
    digest: checked.Digest
    pinned: checked.Flag = True
    """Whether the entry of the source pinned its content when the run was recorded."""


@checked.STRICT
@dataclass(frozen=True)
class Mix:
    """The counts of a dataset, as they are read (`summary`)."""

    tasks: checked.Positive
    entries: checked.Positive
    samples: checked.Count
    uses_validation_demonstrations: checked.Flag
    components: Annotated[list[_Drawn], Field(min_length=1)]
    sources: dict[checked.Name, checked.Digest] = field(default_factory=dict)
    """Source that the run used -> what decided its content (`inputs.contents`)."""


@dataclass(frozen=True)
class Part:
    """The entries of one component: the tasks from which samples are drawn."""

    table: str
    """Name of the task table."""
    tasks: int
    """Number of distinct tasks."""
    entries: tuple[Task, ...]
    """The entries."""
    weight: int
    """Number of times that each entry is drawn in one pass."""
    digest: str
    """Digest of the task table without the dropped tasks."""


def read_tables(dataset: params.Dataset, partition: Path, sources: Path) -> list[Table]:
    """Return the task table of each component of a dataset, in the order of the components.

    If a component has a split, only the tasks of this split are returned.

    Args:
        dataset: The components.
        partition: Folder of the tables of the partition.
        sources: Folder of the tables of the sources.

    Raises:
        ValueError: If a table does not have the split of its component.
    """
    found = []
    for component in dataset.values():
        folder = partition if component.tasks in params.PARTITION_TABLES else sources
        table = tasks.read(folder / f"{component.tasks}.parquet")
        if component.split != "all":
            splits = {task.split for task in table}
            if component.split not in splits:
                raise ValueError(
                    f"split of the component with table {component.tasks}:"
                    f" {unknown(component.split, {*splits, 'all'})}"
                )
            table = [task for task in table if task.split == component.split]
        found.append((component.tasks, table))
    return found


def parts(
    dataset: params.Dataset, tables: Sequence[Table], audit: Mapping[str, Any], seed: int
) -> list[Part]:
    """Return the entries of each component, without the tasks that the audit drops.

    Args:
        dataset: The components.
        tables: Their task tables (`read_tables`).
        audit: The report of the audit.
        seed: The experiment's seed.

    Raises:
        ValueError: If the report is about other tables, or a component has no tasks left.
    """
    leaks = dropped(audit, [table for table, _ in tables])
    found = []
    for component, (table, all_tasks), ids in zip(dataset.values(), tables, leaks, strict=True):
        left = [task for task in all_tasks if task.id not in ids]
        found.append(
            part(
                table,
                narrow.narrow(left, component, seed),
                per_test=component.per_test,
                weight=component.weight,
                digest=tasks.digest(left),
            )
        )
    return found


def dropped(audit: Mapping[str, Any], tables: Sequence[str]) -> list[frozenset[str]]:
    """Return the ids that the audit drops from each table of a dataset.

    Raises:
        ValueError: If the report is about other tables.
    """
    audited = [one["table"] for one in audit["components"]]
    if audited != [*tables]:
        raise ValueError(
            f"the report of the audit is about the tables {audited}, but the dataset has the tables"
            f" {[*tables]}; run: dvc repro"
        )
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


def summary(parts: Sequence[Part], drawn: np.ndarray, *, uses_validation: bool) -> dict[str, Any]:
    """Return the counts of a dataset: tasks, entries and samples, whole and by component.

    `tasks` and `entries` are the columns "tasks" and "tasks variations" of arc24's table
    (iteration 7).

    Args:
        parts: The components.
        drawn: Entry of each sample, int64 (n,).
        uses_validation: Whether pairs of the measured tasks stay in the training data.
    """
    samples = _counts([len(item.entries) for item in parts], drawn)
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


def read(path: Path) -> dict[str, Any]:
    """Return the counts of a dataset (`summary`).

    Raises:
        ValueError: If the file has other values.
    """
    return checked.read_json(path, Mix, "repeat the draw: dvc repro -f -s augment")


def pinned(found: dict[str, Any], sources: Mapping[str, origins.Source]) -> dict[str, Any]:
    """Return the counts of a dataset with a note of the components whose content is not pinned.

    Args:
        found: The counts (`read`).
        sources: All sources by name.
    """
    loose = {
        name
        for name, source in sources.items()
        if isinstance(source, origins.LooseTasks) and source.digest is None
    }
    components = [
        one | ({"pinned": False} if one["table"] in loose else {}) for one in found["components"]
    ]
    return found | {"components": components}


def seen(drawn: Mapping[str, Any], entries: np.ndarray) -> list[dict[str, Any]]:
    """Return the number of samples drawn from each component, and its number of epochs.

    Args:
        drawn: The summary of the dataset.
        entries: Entry number of each sample, int64 (n,).
    """
    counts = _counts([one["entries"] for one in drawn["components"]], entries)
    return [
        {"table": one["table"], "samples": count, "epochs": count / one["entries"]}
        for one, count in zip(drawn["components"], counts, strict=True)
    ]


def _counts(sizes: Sequence[int], entries: np.ndarray) -> list[int]:
    """Return how many of the entries belong to each component, given the components' sizes.

    Raises:
        ValueError: If an entry belongs to none.
    """
    if (last := entries.max(initial=0)) >= sum(sizes):
        raise ValueError(
            f"the samples have the entry {last}, but the components {sum(sizes)} entries; the files"
            " belong to different runs, so run: dvc repro"
        )
    components = np.searchsorted(np.cumsum(sizes), entries, side="right")
    return np.bincount(components, minlength=len(sizes)).tolist()
