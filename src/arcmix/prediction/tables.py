"""Checked reading of tables whose rows belong to validation tests."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

Test = tuple[str, int]
"""A task's id and the number of one of its tests."""


def check_logprob(where: str, row: Mapping[str, Any]) -> None:
    """Refuse a row whose log-probability is not finite or has no tokens.

    Args:
        where: Name of the row in the error.
        row: A row with `logprob` and `tokens`.

    Raises:
        ValueError: If the row is refused.
    """
    if row["tokens"] < 1 or not finite(row["logprob"]):
        raise ValueError(
            f"{where} has a log-probability of {row['logprob']} over {row['tokens']} tokens;"
            " an answer has at least an end token and a finite log-probability, so repeat the"
            " stage that writes the table"
        )


def test_name(row: Mapping[str, Any]) -> str:
    """Return the name of a row's test, for an error."""
    return f"test {row['test']} of task {row['task']!r}"


def finite(value: float | None) -> bool:
    """Return whether a value is present and finite; pandas writes nan to Parquet as null."""
    return value is not None and math.isfinite(value)


def read_rows(
    path: Path,
    columns: Collection[str],
    keys: Sequence[str],
    tests: Sequence[Test] | Mapping[Test, Any],
) -> list[dict[str, Any]]:
    """Return the rows of a Parquet table, as column -> value.

    Args:
        path: The table, with columns `task` and `test` among others.
        columns: The columns that it must have.
        keys: The columns that identify a row.
        tests: All validation tests.

    Raises:
        ValueError: If a column is missing, if a row belongs to another test, or if two rows have
            the same keys.
    """
    table = pq.read_table(path)
    if missing := [name for name in columns if name not in table.column_names]:
        raise ValueError(
            f"{path}: has no column {missing}, got {table.column_names}; it must have"
            f" {[*columns]}, so repeat the stage that writes it"
        )
    rows = table.to_pylist()
    if unknown := sorted({(row["task"], row["test"]) for row in rows} - {*tests}):
        raise ValueError(
            f"{path}: {unknown[0]} is not a validation task and one of its tests, nor are"
            f" {len(unknown) - 1} others; the file belongs to another run, so repeat the stage that"
            " writes it"
        )
    counts = Counter(tuple(row[key] for key in keys) for row in rows)
    if twice := [found for found, count in counts.items() if count > 1]:
        raise ValueError(
            f"{path}: {len(twice)} of {tuple(keys)} have more than one row, first {twice[0]}; each"
            " has one row, so repeat the stage that writes the table"
        )
    return rows
