"""The data model: pairs of grids, tasks made of pairs, and their Parquet schema.

A grid is a uint8 array of shape (height, width) with colors 0-9.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from arcmix import checked, files

COLORS = 10
"""Number of colors; 0 is the background."""

MAX_SIDE = 30
"""Maximum side of a grid in ARC."""

NAME = re.compile(checked.ID)
"""Pattern of a task's id and of the parts of its group, which become parts of paths and tables."""

REMEDY = "run: dvc repro"
"""End of the error about a wrong table."""

# Lists with 64-bit offsets: the grids of a large source have more than 2**31 cells.
GRID = pa.large_list(pa.uint8())
SCHEMA = pa.schema(
    [
        ("task", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("variation", pa.int32()),
        ("role", pa.string()),
        ("pair", pa.int32()),
        ("input", GRID),
        ("input_height", pa.uint8()),
        ("input_width", pa.uint8()),
        ("output", GRID),
        ("output_height", pa.uint8()),
        ("output_width", pa.uint8()),
        ("rng", pa.float32()),
        ("pso", pa.float32()),
        ("group", pa.string()),
    ]
)
"""One row per pair; grids are flattened row by row, with their shapes in other columns."""


HIDDEN = np.zeros((0, 0), np.uint8)
"""The output of a hidden test, which is not known."""


@dataclass(frozen=True, eq=False)
class Pair:
    """An input grid and its output grid, which is `HIDDEN` in a hidden test."""

    input: np.ndarray
    output: np.ndarray

    @property
    def is_hidden(self) -> bool:
        """Whether the output is not known."""
        return not self.output.size


@dataclass(frozen=True, eq=False)
class Task:
    """Demonstrations and tests of one rule.

    A task without demonstrations is a grid with questions (`objects`), which is both the input and
    the output of its only test. Only sources of kind `counting` have such tasks.

    `variation` numbers the tasks drawn by one generator; for other sources it is 0. `rng` and
    `pso` are the means of RE-ARC's two difficulty measures over the pairs; for other sources they
    are None. `group` is the source's own group, such as the concept of the task; it is None if
    the source has no groups.
    """

    id: str
    source: str
    split: str
    variation: int
    train: tuple[Pair, ...]
    test: tuple[Pair, ...]
    rng: float | None = None
    pso: float | None = None
    group: str | None = None

    @property
    def cells(self) -> int:
        """Total number of cells in all grids of the task."""
        return sum(pair.input.size + pair.output.size for pair in self.train + self.test)


def longest_side(tasks: Iterable[Task]) -> int:
    """Return the maximum side of an answer: 30, or the longest side of a grid in a prompt.

    A third of the tasks of 1D-ARC have answers wider than 30.

    Args:
        tasks: The tasks to answer.
    """
    shown = (
        grid
        for task in tasks
        for grid in (
            *(grid for pair in task.train for grid in (pair.input, pair.output)),
            *(pair.input for pair in task.test),
        )
    )
    return max(MAX_SIDE, *(side for grid in shown for side in grid.shape))


def digest(tasks: Iterable[Task]) -> str:
    """Return a sha256 of the ids, splits and grids, independent of the order of the tasks."""
    found = hashlib.sha256(b"[")
    # One task at a time, because lists of all cells would take much memory.
    for number, task in enumerate(
        sorted(tasks, key=lambda one: (one.id, one.split, one.variation))
    ):
        content = (task.id, task.split, task.variation, _lists(task.train), _lists(task.test))
        text = json.dumps(content, separators=(",", ":"))
        found.update(f"{',' * (number > 0)}{text}".encode())
    found.update(b"]")
    return found.hexdigest()


def _lists(pairs: Iterable[Pair]) -> list[list[Any]]:
    return [[pair.input.tolist(), pair.output.tolist()] for pair in pairs]


def write(path: Path, tasks: Iterable[Task]) -> None:
    """Write tasks to a Parquet file with `SCHEMA`, in their order."""
    rows = [
        (task, role, number, pair)
        for task in tasks
        for role, pairs in (("train", task.train), ("test", task.test))
        for number, pair in enumerate(pairs)
    ]
    columns: dict[str, Any] = {
        "task": [task.id for task, *_ in rows],
        "source": [task.source for task, *_ in rows],
        "split": [task.split for task, *_ in rows],
        "variation": [task.variation for task, *_ in rows],
        "role": [role for _, role, *_ in rows],
        "pair": [number for _, _, number, _ in rows],
        "rng": [task.rng for task, *_ in rows],
        "pso": [task.pso for task, *_ in rows],
        "group": [task.group for task, *_ in rows],
    }
    for side in ("input", "output"):
        grids = [getattr(pair, side) for *_, pair in rows]
        columns[side] = ragged([grid.reshape(-1) for grid in grids])
        columns[f"{side}_height"] = [grid.shape[0] for grid in grids]
        columns[f"{side}_width"] = [grid.shape[1] for grid in grids]
    with files.replacing(path) as new:
        pq.write_table(pa.table(columns, schema=SCHEMA), new, compression="zstd")


def ragged(parts: Sequence[np.ndarray]) -> pa.LargeListArray:
    """Return uint8 arrays as an Arrow list column."""
    offsets = np.cumsum([0, *(len(part) for part in parts)])
    values = np.concatenate(parts) if parts else np.zeros(0, np.uint8)
    return pa.LargeListArray.from_arrays(offsets, values)


def read(path: Path, *, hidden: bool = False) -> list[Task]:
    """Read tasks in the order in which they were written.

    Args:
        path: The table.
        hidden: Whether the outputs of tests may be hidden.

    Raises:
        ValueError: If the file is no table of `SCHEMA`, or holds a wrong id, grid or number.
    """
    table = checked.parquet(path, REMEDY)
    if not table.schema.equals(SCHEMA):
        raise ValueError(
            f"{path}: not a task table: expected the columns {SCHEMA.names} with their types, found"
            f" {table.column_names}; {REMEDY}"
        )
    optional = ("rng", "pso", "group")
    if empty := [name for name in SCHEMA.names if table[name].null_count and name not in optional]:
        raise ValueError(f"{path}: the columns {empty} have empty cells; {REMEDY}")
    names = ["task", "source", "split", "variation", "rng", "pso", "group", "role"]
    columns = {name: table[name].to_pylist() for name in (*names, "pair")}
    for name, kind in _KINDS.items():
        found = sorted({value for value in columns[name] if value is not None})
        checked.check(f"{path}: {name}", found, list[kind], REMEDY)
    may_be_hidden = np.array(columns["role"]) == "test"
    grids = {
        side: _grids(path, table, side, may_be_hidden & (hidden and side == "output"))
        for side in ("input", "output")
    }
    tasks: dict[tuple[Any, ...], dict[str, list[Pair]]] = {}
    for row in range(table.num_rows):
        key = tuple(columns[name][row] for name in names[:-1])
        pairs = tasks.setdefault(key, {"train": [], "test": []})
        own = pairs.get(role := columns["role"][row])
        if own is None or columns["pair"][row] != len(own):
            raise ValueError(
                f"{path}: row {row} is pair {columns['pair'][row]} of role {role!r} of task"
                f" {columns['task'][row]!r}; the role is train or test, and its pairs are numbered"
                f" from 0 without gaps; {REMEDY}"
            )
        own.append(Pair(grids["input"][row], grids["output"][row]))
    return [
        Task(
            *key,
            train=tuple(pairs["train"]),
            test=tuple(pairs["test"]),
            rng=rng,
            pso=pso,
            group=group,
        )
        for (*key, rng, pso, group), pairs in tasks.items()
    ]


_KINDS: dict[str, Any] = {
    "task": checked.TaskId,
    "variation": checked.Count,
    "rng": checked.Number,
    "pso": checked.Number,
    "group": checked.Group,
}
"""Columns with values that may be wrong although their types in `SCHEMA` are right."""


def _grids(path: Path, table: pa.Table, side: str, may_be_hidden: np.ndarray) -> list[np.ndarray]:
    """Return the grids of a column, after a check of their shapes and colors.

    Args:
        path: The table, for errors.
        table: The table.
        side: Name of the column.
        may_be_hidden: Whether the grid of each row may be `HIDDEN`, bool (n,).
    """
    column = table[side].combine_chunks()
    values, offsets = column.values, column.offsets.to_numpy()
    heights, widths = (table[f"{side}_{name}"].to_numpy() for name in ("height", "width"))
    sizes = np.diff(offsets)
    is_hidden = may_be_hidden & (heights == 0) & (widths == 0)
    wrong = (heights.astype(np.int64) * widths != sizes) | ((sizes == 0) & ~is_hidden)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"{path}: row {row}: the {side} has {sizes[row]} cells and the shape"
            f" ({heights[row]}, {widths[row]}); the cells have to fill the shape; {REMEDY}"
        )
    cells = values.to_numpy(zero_copy_only=False)
    if values.null_count or cells.max(initial=0) >= COLORS:
        raise ValueError(
            f"{path}: a cell of an {side} is empty or {cells.max(initial=0)}; a color is from 0 to"
            f" {COLORS - 1}; {REMEDY}"
        )
    return [
        cells[start:end].reshape(height, width)
        for start, end, height, width in zip(offsets, offsets[1:], heights, widths, strict=False)
    ]
