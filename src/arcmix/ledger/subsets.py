"""Runs that differ in how much they use of one component of their dataset.

A smaller `subset` of a component is part of each larger one, for each seed (`sampling.narrow`). So
such runs show what more tasks do. They have the same settings, thus the same budget: with more
tasks, each is seen fewer times.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from arcmix.ledger.records import Row, fingerprint

SUBSET = "subset"
"""The setting of a component that chooses its number of tasks."""

AMOUNTS = (SUBSET, "hardest", "variations", "examples")
"""Settings of a component that choose how much of its table is used."""

Axis = Literal["examples", "variations"]
"""A setting of a component that chooses how many examples each of its tasks has."""

Amount = int | Literal["all"]
"""The value of such a setting."""


@dataclass(frozen=True)
class Cell:
    """The runs with one size of the component, which differ in their seeds alone."""

    tasks: int
    """Number of training tasks of the component."""
    amount: Amount
    """Value of the other setting that varies; `all` where none does."""
    rows: tuple[Row, ...]
    """The runs, ordered by seed."""


@dataclass(frozen=True)
class Design:
    """Cells that differ in the size of one component alone."""

    label: str
    """`TABLE, MODEL at SCALE`, where TABLE is that of the component; `(beside OTHERS)` follows
    TABLE if the dataset has other components."""
    cells: tuple[Cell, ...]
    """The cells, by ascending number of tasks and amount, where `all` comes last."""


def whole(rows: Iterable[Row]) -> Row | None:
    """Return the only run whose dataset uses its tables in full; None unless exactly one does.

    Args:
        rows: A run of each definition of a dataset.
    """
    found = [
        row
        for row in rows
        if all(one.get(name, "all") == "all" for one in row.components for name in AMOUNTS)
    ]
    return found[0] if len(found) == 1 else None


def designs(rows: Iterable[Row], axis: Axis | None = None) -> list[Design]:
    """Return the designs with two numbers of training tasks or more, and two amounts or more.

    Args:
        rows: Rows of the ledger. Those of other code, settings, models, scales or starts are in
            other designs; so labels are unique for rows of the same settings and starts.
        axis: Another setting of the component that may differ; None for the number of tasks alone.
    """
    found: dict[str, tuple[Row, int, dict[tuple[int, Amount], dict[int, Row]]]] = {}
    for row in rows:
        if not row.trained:
            continue
        for place, component in enumerate(row.components):
            drawn = row.mix["components"][place]["tasks"]
            amount = "all" if axis is None else component[axis]
            key = _key(row, place, {SUBSET, axis})
            _, _, cells = found.setdefault(key, (row, place, {}))
            cells.setdefault((drawn, amount), {})[row.seed] = row
    made = [(row, place, _cells(cells)) for row, place, cells in found.values()]
    varied = [one for one in made if _varies(one[-1], axis)]
    labels = _labels([(row, place) for row, place, _ in varied], {SUBSET, axis})
    designs = [Design(label, cells) for label, (*_, cells) in zip(labels, varied, strict=True)]
    return sorted(designs, key=lambda one: one.label)


def _labels(parts: Sequence[tuple[Row, int]], free: set[str | None]) -> list[str]:
    """Return the label of each design, given a run and the place of its component.

    Designs with the same component are told apart by its values.

    Args:
        parts: A run of each design, and the place of the component in it.
        free: Settings of the component that vary within a design.
    """
    labels = [_label(row, place) for row, place in parts]
    alike = defaultdict(list)
    for label, (row, place) in zip(labels, parts, strict=True):
        alike[label].append(row.components[place])
    for at, (row, place) in enumerate(parts):
        others, own = alike[labels[at]], row.components[place]
        differing = [
            f"{name}={value}"
            for name, value in own.items()
            if name not in free and any(one[name] != value for one in others)
        ]
        labels[at] += f", {', '.join(differing)}" if differing else ""
    return labels


def _key(row: Row, place: int, free: set[str | None]) -> str:
    """Return what the runs of a design share."""
    components = [
        {name: value for name, value in one.items() if at != place or name not in free}
        for at, one in enumerate(row.components)
    ]
    digests = [one["digest"] for one in row.mix["components"]]
    return fingerprint(
        row.code, row.model, row.scale, row.settings, place, components, digests, row.start
    )


def _label(row: Row, place: int) -> str:
    tables = [one["table"] for one in row.mix["components"]]
    table = tables.pop(place)
    beside = f" (beside {', '.join(tables)})" if tables else ""
    return f"{table}{beside}, {row.model} at {row.scale}"


def _cells(cells: dict[tuple[int, Amount], dict[int, Row]]) -> tuple[Cell, ...]:
    def order(place: tuple[int, Amount]) -> tuple[int, float]:
        return place[0], float("inf") if place[1] == "all" else place[1]

    return tuple(
        Cell(tasks, amount, tuple(runs[seed] for seed in sorted(runs)))
        for (tasks, amount), runs in sorted(cells.items(), key=lambda item: order(item[0]))
    )


def _varies(cells: Sequence[Cell], axis: Axis | None) -> bool:
    tasks = {cell.tasks for cell in cells}
    amounts = {cell.amount for cell in cells}
    return len(tasks) > 1 and (axis is None or len(amounts) > 1)


def values(cells: Sequence[Cell], metric: str) -> np.ndarray:
    """Return a metric of the tasks on the seeds and the tasks that all cells have.

    Args:
        cells: The cells, at least one.
        metric: The metric of a validation task.

    Returns:
        float, (cells, seeds, tasks); without seeds or tasks if the cells have none in common.
    """
    seeds = sorted(set.intersection(*({row.seed for row in cell.rows} for cell in cells)))
    runs = [[row for row in cell.rows if row.seed in seeds] for cell in cells]
    measured = [
        {name: task[metric] for name, task in row.tasks.items() if task.get(metric) is not None}
        for own in runs
        for row in own
    ]
    tasks = sorted(set.intersection(*map(set, measured))) if measured else []
    found = [[one[task] for task in tasks] for one in measured]
    return np.array(found, dtype=float).reshape(len(cells), len(seeds), len(tasks))
