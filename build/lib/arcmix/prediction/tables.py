"""Checked reading of tables whose rows belong to validation tests."""

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from arcmix import checked

Test = tuple[str, int]
"""A task's id and the number of one of its tests."""


class TestRow(Protocol):
    """A row that belongs to a test."""

    @property
    def task(self) -> str:
        """The task's id."""
        ...

    @property
    def test(self) -> int:
        """Number of the test."""
        ...


R = TypeVar("R", bound=TestRow)


def test_name(row: TestRow) -> str:
    """Return the name of a row's test, for an error."""
    return f"test {row.test} of task {row.task!r}"


def read_rows(
    path: Path, row: type[R], keys: Sequence[str], tests: Collection[Test], remedy: str
) -> list[R]:
    """Return the rows of a Parquet table.

    Args:
        path: The table.
        row: Type of a row (`checked`).
        keys: The fields that identify a row.
        tests: All validation tests.
        remedy: What to do about a wrong table, the end of the error.

    Raises:
        ValueError: If `checked.read_parquet` refuses the table, if a row belongs to another test,
            or if two rows have the same keys.
    """
    rows = checked.read_parquet(path, row, remedy)
    if unknown := sorted({(one.task, one.test) for one in rows} - {*tests}):
        raise ValueError(
            f"{path}: {unknown[0]} is not a validation task and one of its tests, nor are"
            f" {len(unknown) - 1} others; the file belongs to another run; {remedy}"
        )
    counts = Counter(tuple(getattr(one, key) for key in keys) for one in rows)
    if twice := [found for found, count in counts.items() if count > 1]:
        raise ValueError(
            f"{path}: {len(twice)} of {tuple(keys)} have more than one row, first {twice[0]}; each"
            f" has one row; {remedy}"
        )
    return rows
