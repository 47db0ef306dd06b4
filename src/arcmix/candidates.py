"""The answers to the validation tests as stage `predict` stores them."""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from arcmix.select import SCORE_COLUMNS, Candidate, choices

Test = tuple[str, int]
"""A task's id and the number of its test."""

COLUMNS = (
    "task",
    "test",
    "view",
    "rank",
    "grid",
    "height",
    "width",
    "logprob",
    "tokens",
    "ended",
)
"""Columns of the table of candidates: docs/architecture.md."""


def read(path: Path, tests: Sequence[Test]) -> dict[Test, list[Candidate]]:
    """Return the candidates of each test by view and rank.

    Args:
        path: The table of candidates.
        tests: All tests that were to be answered.

    Raises:
        ValueError: If the table is of other tests, a view or a rank is missing or there twice,
            or a candidate is not as `predict` writes it.
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
        ranks = Counter(view for view, _ in found)
        expected = [(view, rank) for view in range(views) for rank in range(ranks[view] or 1)]
        if found != expected:
            missing = sorted({*expected} - {*found})
            raise ValueError(
                f"{path}: test {test[1]} of task {test[0]!r} has no row of view and rank"
                f" {missing[0]}; every test has a row in each of the {views} views, so repeat the"
                " stage that writes them"
            )
    return answers


def _candidate(path: Path, row: Mapping[str, Any]) -> Candidate:
    cells, shape = row["grid"], (row["height"], row["width"])
    where = f"{path}: rank {row['rank']} in view {row['view']} of {_name(row)}"
    if cells is None:
        return Candidate(None, row["logprob"], row["tokens"], row["ended"])
    if None in shape or len(cells) != math.prod(shape):
        raise ValueError(f"{where} has {len(cells)} cells and the shape {shape}")
    _check_logprob(where, row)
    grid = np.array(cells, np.uint8).reshape(shape)
    return Candidate(grid, row["logprob"], row["tokens"], row["ended"])


def read_scores(
    path: Path, answers: Mapping[Test, Sequence[Candidate]]
) -> dict[Test, dict[int, float]]:
    """Return the summed log-probability of each distinct grid that was scored, by test.

    Args:
        path: The table of scores; it has no rows if nothing was scored.
        answers: The candidates of each test (`read`).

    Raises:
        ValueError: If the table is of other candidates, or two grids of a test are not scored
            in the same views, so that their sums do not compare.
    """
    rows = read_rows(path, SCORE_COLUMNS, ("task", "test", "candidate", "view"), answers)
    found: dict[Test, dict[int, dict[int, float]]] = {test: defaultdict(dict) for test in answers}
    for row in rows:
        where = f"{path}: candidate {row['candidate']} in view {row['view']} of {_name(row)}"
        _check_logprob(where, row)
        found[row["task"], row["test"]][row["candidate"]][row["view"]] = row["logprob"]
    for test, scored in found.items():
        known = len(choices(answers[test]))
        views = {tuple(sorted(by_view)) for by_view in scored.values()}
        if any(number >= known for number in scored) or len(views) > 1:
            raise ValueError(
                f"{path}: test {test[1]} of task {test[0]!r} has scores of the candidates"
                f" {sorted(scored)} of {known}, in the views {sorted(views)}; each of them is"
                " scored in the same views, so repeat the stage that writes them"
            )
    return {
        test: {number: math.fsum(by_view.values()) for number, by_view in scored.items()}
        for test, scored in found.items()
    }


def _check_logprob(where: str, row: Mapping[str, Any]) -> None:
    if row["tokens"] < 1 or not finite(row["logprob"]):
        raise ValueError(
            f"{where} has a log-probability of {row['logprob']} over {row['tokens']} tokens;"
            " an answer has an end token at least, and finite logits"
        )


def _name(row: Mapping[str, Any]) -> str:
    return f"test {row['test']} of task {row['task']!r}"


def finite(value: float | None) -> bool:
    """Return whether a number of a table is there and finite."""
    # pandas writes nan as null.
    return value is not None and math.isfinite(value)


def read_rows(
    path: Path,
    columns: Collection[str],
    keys: Sequence[str],
    tests: Sequence[Test] | Mapping[Test, Any],
) -> list[dict[str, Any]]:
    """Read a table with at most one row for each combination of keys, on known tests.

    Raises:
        ValueError: If a column is missing, a row is on another test, or two rows are of one
            combination.
    """
    table = pq.read_table(path)
    if missing := [name for name in columns if name not in table.column_names]:
        raise ValueError(
            f"{path}: has no column {missing}, got {table.column_names}; an earlier version wrote"
            " it, so repeat its stage"
        )
    rows = table.to_pylist()
    if unknown := sorted({(row["task"], row["test"]) for row in rows} - {*tests}):
        raise ValueError(
            f"{path}: {unknown[0]} is not a task and test of validation, nor are"
            f" {len(unknown) - 1} others; the file is of another run, so repeat its stage"
        )
    counts = Counter(tuple(row[key] for key in keys) for row in rows)
    if twice := [found for found, count in counts.items() if count > 1]:
        raise ValueError(
            f"{path}: {len(twice)} of {tuple(keys)} have more than one row, first {twice[0]}"
        )
    return rows
