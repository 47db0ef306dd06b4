"""The table of candidates: the answers to the views of each test."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from arcmix import checked, files
from arcmix.prediction.selection import Candidate
from arcmix.prediction.tables import Test, read_rows, test_name
from arcmix.prediction.views import View

COLUMNS = {
    "task": "str",
    "test": "int64",
    "view": "int64",
    "rank": "int64",
    "grid": "object",
    "height": "UInt8",
    "width": "UInt8",
    "logprob": "float64",
    "tokens": "int64",
    "ended": "bool",
}
"""Columns of the table -> their dtypes. A row is a candidate. A view without answers has one row,
of rank 0 and without a grid."""

REMEDY = "repeat the stage that writes the table: dvc repro -f -s predict"
"""End of the error about a wrong table."""


@checked.STRICT
@dataclass(frozen=True)
class Row:
    """A row as it is read; its fields are `COLUMNS`."""

    task: checked.TaskId
    test: checked.Count
    view: checked.Count
    rank: checked.Count
    grid: list[checked.Color] | None
    height: checked.Side | None
    width: checked.Side | None
    logprob: checked.Number
    tokens: checked.Count
    ended: checked.Flag


def write(path: Path, answers: Iterable[tuple[View, Sequence[Candidate]]]) -> None:
    """Write the candidates of each view, in the order of their rank."""
    rows = [
        {
            "task": view.task.id,
            "test": view.test,
            "view": view.index,
            "rank": rank,
            "grid": None if one.grid is None else one.grid.reshape(-1),
            "height": None if one.grid is None else one.grid.shape[0],
            "width": None if one.grid is None else one.grid.shape[1],
            "logprob": one.logprob,
            "tokens": one.tokens,
            "ended": one.ended,
        }
        for view, found in answers
        for rank, one in enumerate(found)
    ]
    files.write_parquet(path, pd.DataFrame(rows, columns=[*COLUMNS]).astype(COLUMNS))


def read(path: Path, tests: Sequence[Test], views: int) -> dict[Test, list[Candidate]]:
    """Return the candidates of each test, ordered by view and rank.

    Args:
        path: The table.
        tests: All validation tests.
        views: Number of views of each test.

    Raises:
        ValueError: If the table has other tests or views, if a view or a rank is missing or occurs
            twice, or if a row has no valid grid or log-probability.
    """
    rows = read_rows(path, Row, ("task", "test", "view", "rank"), tests, REMEDY)
    rows.sort(key=lambda row: (row.view, row.rank))
    answers = {test: [] for test in tests}
    places = {test: [] for test in tests}
    for row in rows:
        test = row.task, row.test
        answers[test].append(_candidate(path, row))
        places[test].append((row.view, row.rank))
    for test, found in places.items():
        counts = Counter(view for view, _ in found)
        expected = [(view, rank) for view in range(views) for rank in range(counts[view] or 1)]
        if found != expected:
            wrong = min({*expected} ^ {*found})
            has = "has a" if wrong in found else "has no"
            raise ValueError(
                f"{path}: test {test[1]} of task {test[0]!r} {has} row of view and rank {wrong};"
                f" every test has a row in each of the {views} views of predict.views, and ranks"
                f" without gaps; {REMEDY}"
            )
    return answers


def _candidate(path: Path, row: Row) -> Candidate:
    where = f"{path}: rank {row.rank} in view {row.view} of {test_name(row)}"
    cells, shape = row.grid, (row.height or 0, row.width or 0)
    if math.prod(shape) != len(cells or ()) or (cells is None) != (shape == (0, 0)):
        raise ValueError(
            f"{where} has {len(cells or ())} cells and the shape {(row.height, row.width)}; the"
            f" cells have to fill the shape; {REMEDY}"
        )
    if cells is None:
        return Candidate(None, row.logprob, row.tokens, row.ended)
    if row.tokens < 1:
        raise ValueError(
            f"{where} has a grid of {row.tokens} tokens; an answer has at least an end token;"
            f" {REMEDY}"
        )
    grid = np.array(cells, np.uint8).reshape(shape)
    return Candidate(grid, row.logprob, row.tokens, row.ended)
