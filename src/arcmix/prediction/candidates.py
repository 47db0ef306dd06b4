"""The table of candidates: the answers to the views of each test."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from arcmix import files
from arcmix.prediction.selection import Candidate
from arcmix.prediction.tables import Test, check_logprob, read_rows, test_name
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


def read(path: Path, tests: Sequence[Test]) -> dict[Test, list[Candidate]]:
    """Return the candidates of each test, ordered by view and rank.

    Args:
        path: The table.
        tests: All validation tests.

    Raises:
        ValueError: If the table has other tests, if a view or a rank is missing or occurs twice,
            or if a row has no valid grid or log-probability.
    """
    rows = read_rows(path, COLUMNS, ("task", "test", "view", "rank"), tests)
    rows.sort(key=lambda row: (row["view"], row["rank"]))
    answers = {test: [] for test in tests}
    places = {test: [] for test in tests}
    for row in rows:
        test = row["task"], row["test"]
        answers[test].append(_candidate(path, row))
        places[test].append((row["view"], row["rank"]))
    views = max((row["view"] + 1 for row in rows), default=1)
    for test, found in places.items():
        counts = Counter(view for view, _ in found)
        expected = [(view, rank) for view in range(views) for rank in range(counts[view] or 1)]
        if found != expected:
            missing = sorted({*expected} - {*found})
            raise ValueError(
                f"{path}: test {test[1]} of task {test[0]!r} has no row of view and rank"
                f" {missing[0]}; every test has a row in each of the {views} views, and ranks"
                " without gaps, so repeat the stage that writes the table"
            )
    return answers


def _candidate(path: Path, row: Mapping[str, Any]) -> Candidate:
    cells, shape = row["grid"], (row["height"], row["width"])
    where = f"{path}: rank {row['rank']} in view {row['view']} of {test_name(row)}"
    if cells is None:
        return Candidate(None, row["logprob"], row["tokens"], row["ended"])
    if None in shape or len(cells) != math.prod(shape):
        raise ValueError(
            f"{where} has {len(cells)} cells and the shape {shape}; the cells have to fill the"
            " shape, so repeat the stage that writes the table"
        )
    check_logprob(where, row)
    grid = np.array(cells, np.uint8).reshape(shape)
    return Candidate(grid, row["logprob"], row["tokens"], row["ended"])
