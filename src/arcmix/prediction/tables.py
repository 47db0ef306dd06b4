"""Tables with rows on tests of the validation tasks: read and checked."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

Test = tuple[str, int]
"""A task's id and the number of its test."""


def check_logprob(where: str, row: Mapping[str, Any]) -> None:
    """Refuse a row whose log-probability is not finite or belongs to no tokens.

    Args:
        where: Names the row in the error.
        row: A row with `logprob` and `tokens`.

    Raises:
        ValueError: If the row is refused.
    """
    if row["tokens"] < 1 or not finite(row["logprob"]):
        raise ValueError(
            f"{where} has a log-probability of {row['logprob']} over {row['tokens']} tokens;"
            " an answer has an end token at least, and finite logits"
        )


def test_name(row: Mapping[str, Any]) -> str:
    """Return the name of a row's test for an error."""
    return f"test {row['test']} of task {row['task']!r}"


def finite(value: float | None) -> bool:
    """Return whether a number of a table is present and finite."""
    # pandas writes nan as null.
    return value is not None and math.isfinite(value)


def read_rows(
    path: Path,
    columns: Collection[str],
    keys: Sequence[str],
    tests: Sequence[Test] | Mapping[Test, Any],
) -> list[dict[str, Any]]:
    """Read a Parquet table that has at most one row for each combination of keys.

    Args:
        path: The table, with columns `task` and `test` among others.
        columns: The columns that it must have.
        keys: The columns that identify a row.
        tests: The tests that rows may be on.

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
