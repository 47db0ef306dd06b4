"""Tasks from parsed JSON; what is no ARC task is rejected with a reason."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from arcmix.tasks import COLORS, HIDDEN, NAME, Pair, Task

Value = tuple[str, str, str | None, Any]
"""Id, split, group and parsed JSON of a task, or a tuple with that of each of its variations."""


def as_grid(rows: Any, max_side: int) -> np.ndarray:  # noqa: ANN401
    """Return rows of integers as a grid.

    Raises:
        ValueError: If the rows are not a non-empty rectangle of integers 0-9 with sides of at
            most `max_side`. The text before the first comma is the reason.
    """
    lists = isinstance(rows, list | tuple) and all(isinstance(row, list | tuple) for row in rows)
    if not lists or not rows or not all(rows):
        raise ValueError("a grid is not a list of non-empty rows")
    widths = sorted({len(row) for row in rows})
    if len(widths) > 1:
        raise ValueError(f"the rows of a grid differ in width, got widths {widths}")
    if any(type(color) is not int for row in rows for color in row):
        raise ValueError("a color is not an integer")
    outside = sorted({color for row in rows for color in row if not 0 <= color < COLORS})
    if outside:
        raise ValueError(f"a color is outside 0-{COLORS - 1}, got {outside}")
    if max(len(rows), widths[0]) > max_side:
        raise ValueError(f"a side is longer than {max_side}, got shape ({len(rows)}, {widths[0]})")
    return np.array(rows, np.uint8)


def as_task(
    id_: str,
    value: Any,  # noqa: ANN401
    *,
    source: str,
    split: str,
    variation: int,
    max_side: int,
    hidden: bool = False,
) -> Task:
    """Convert parsed JSON to a task; keys other than train, test, input and output are ignored.

    Args:
        id_: Id of the task.
        value: The parsed JSON.
        source: Name of its source.
        split: Its split.
        variation: Its number among the tasks of a generator.
        max_side: Maximum side of a grid.
        hidden: Whether the outputs of the tests are left out, if there are any.

    Raises:
        ValueError: If pairs or grids are missing, or `as_grid` rejects a grid.
    """
    pairs = {}
    for role in ("train", "test"):
        found = value.get(role) if isinstance(value, Mapping) else None
        if not isinstance(found, list | tuple) or not found:
            raise ValueError(f"a task has no {role} pairs")
        known = not (hidden and role == "test")
        sides = {"input", "output"} if known else {"input"}
        if not all(isinstance(p, Mapping) and sides <= {*p} for p in found):
            raise ValueError(f"a {role} pair lacks its {' or its '.join(sorted(sides))}")
        pairs[role] = tuple(
            Pair(as_grid(p["input"], max_side), as_grid(p["output"], max_side) if known else HIDDEN)
            for p in found
        )
    return Task(id_, source, split, variation, pairs["train"], pairs["test"])


def parse(values: Iterable[Value], source: str, max_side: int) -> tuple[list[Task], Counter[str]]:
    """Parse JSON tasks and reject those that are not ARC tasks.

    Args:
        values: Id, split, group and JSON of each task.
        source: Name of the source.
        max_side: Maximum side of a grid.

    Returns:
        The tasks sorted by split, id and variation, and the number of rejected ones by reason.

    Raises:
        ValueError: If two tasks of a split have the same id.
    """
    tasks: dict[tuple[str, str], list[Task]] = {}
    rejects = Counter[str]()
    for id_, split, group, value in values:
        if (split, id_) in tasks:
            raise ValueError(
                f"two tasks of {source}, split {split}, have the id {id_!r}; ids in a split have to"
                f" be unique: check the files of sources.{source}"
            )
        try:
            check_names(id_, *(group or id_).split("/"))
        except ValueError as error:
            rejects[str(error).split(",")[0]] += 1
            continue
        drawn = tasks.setdefault((split, id_), [])
        for number, one in enumerate(value if isinstance(value, tuple) else (value,)):
            try:
                found = as_task(
                    id_, one, source=source, split=split, variation=number, max_side=max_side
                )
            except ValueError as error:
                rejects[str(error).split(",")[0]] += 1
            else:
                drawn.append(replace(found, group=group))
    return [task for key in sorted(tasks) for task in tasks[key]], rejects


def check_names(*names: str) -> None:
    """Check ids and groups, which become parts of paths and of tables.

    Raises:
        ValueError: If one has other characters than those of `NAME`.
    """
    for name in names:
        if not NAME.fullmatch(name):
            raise ValueError(
                f"an id or a group has characters other than letters or digits or ._-, got {name!r}"
            )
