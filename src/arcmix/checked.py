"""Checked reading of the files that a run leaves on disk.

A module that owns a file states what it may hold as a type, and reads it here. Each value is held
against the type: no conversion makes a wrong value right, and no value is NaN or infinite. An error
states the file, the row, the value, what is allowed and which stage to repeat.

Pydantic checks the types. They are dataclasses, decorated with `STRICT` or `OPEN`.
"""

import contextlib
import csv
import dataclasses
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import (
    ConfigDict,
    FailFast,
    Field,
    Strict,
    TypeAdapter,
    ValidationError,
    with_config,
)

from arcmix import files

STRICT = with_config(ConfigDict(extra="forbid"))
"""Decorator of a dataclass: a value has its fields and no others."""

OPEN = with_config(ConfigDict(extra="ignore"))
"""Decorator of a dataclass: a value has its fields, and others that the reader does not use."""

LARGEST = 2**24
"""Limit on the bytes of a JSON or CSV file, far above those of the largest run."""

Text = Annotated[str, Strict()]
"""Any text."""

Flag = Annotated[bool, Strict()]
"""True or false."""

Count = Annotated[int, Field(ge=0, lt=2**63), Strict()]
"""A number of things, or the number of a thing."""

Positive = Annotated[int, Field(ge=1, lt=2**63), Strict()]
"""A number of things that is not zero."""

Number = Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False), Strict()]
"""A number whose sums are finite."""

Natural = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False), Strict()]
"""A number that is not negative and whose sums are finite."""

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), Strict()]
"""A number from 0 to 1."""

Color = Annotated[int, Field(ge=0, le=9), Strict()]
"""A color of a grid."""

Side = Annotated[int, Field(ge=1, le=255), Strict()]
"""The height or the width of a grid."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,99}$"), Strict()]
"""A name in `params.yaml`: letters, digits, `-` and `_`."""

ID = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}"
"""Pattern of a task's id and of a part of its group."""

TaskId = Annotated[str, Field(pattern=f"^{ID}$"), Strict()]
"""A task's id, which is also the name of a file."""

Group = Annotated[str, Field(pattern=f"^{ID}(/{ID})*$"), Strict()]
"""The group of a task."""

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$"), Strict()]
"""A sha256 in hexadecimal digits."""

T = TypeVar("T")


def read_parquet(path: Path, row: type[T], remedy: str) -> list[T]:
    """Return the rows of a Parquet table; columns that the type does not have are left out.

    Args:
        path: The table.
        row: Type of a row; its fields are the columns.
        remedy: What to do about a wrong file, the end of the error.

    Raises:
        ValueError: If the file is no Parquet table, lacks a column or holds a wrong value.
    """
    columns = _columns(row)
    table = parquet(path, remedy)
    require_columns(path, table.column_names, columns, remedy)
    return _rows(path, table.select(columns).to_pylist(), row, remedy, strict=None)


def parquet(path: Path, remedy: str) -> pa.Table:
    """Return a Parquet table, after a check of its encoding.

    Args:
        path: The table.
        remedy: What to do about a wrong file, the end of the error.

    Raises:
        ValueError: If the file is no Parquet table.
    """
    # `read_table` leaves threads behind, which may abort a program that ends soon (apache/arrow
    # issue 34314), and it accepts a folder.
    with readable(path, remedy), pq.ParquetFile(path) as file:
        table = file.read()
        table.validate(full=True)
        return table


@contextlib.contextmanager
def readable(path: Path, remedy: str) -> Iterator[None]:
    """Turn the errors of reading a Parquet table into a `ValueError` with its path and a remedy."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path}: not a readable Parquet table: {error}; {remedy}") from error


def require_columns(path: Path, found: Sequence[str], columns: Sequence[str], remedy: str) -> None:
    """Refuse a table that lacks a column, or has it twice.

    Raises:
        ValueError: If the table is refused.
    """
    if wrong := [name for name in columns if found.count(name) != 1]:
        raise ValueError(
            f"{path}: the columns {wrong} are missing or occur twice, got {_short([*found])}; the"
            f" table has the columns {[*columns]}; {remedy}"
        )


def read_csv(path: Path, row: type[T], remedy: str) -> list[T]:
    """Return the rows of a CSV file; an empty cell is None, and other columns are left out.

    Args:
        path: The table.
        row: Type of a row; its fields are the columns.
        remedy: What to do about a wrong file, the end of the error.

    Raises:
        ValueError: If the file is no CSV file, lacks a column or holds a wrong value.
    """
    lines = csv.DictReader(io.StringIO(read_text(path, remedy), newline=""), strict=True)
    try:
        require_columns(path, lines.fieldnames or [], _columns(row), remedy)
        found = [*lines]
    except csv.Error as error:
        raise ValueError(f"{path}: not a readable CSV file: {error}; {remedy}") from error
    # The reader marks missing cells and extra cells with None.
    if wrong := [number for number, line in enumerate(found) if None in (*line, *line.values())]:
        raise ValueError(f"{path}: row {wrong[0]} has not one cell for each column; {remedy}")
    found = [{name: line[name] or None for name in _columns(row)} for line in found]
    # All values of a CSV file are texts.
    return _rows(path, found, row, remedy, strict=False)


def read_json(path: Path, kind: Any, remedy: str) -> Any:  # noqa: ANN401
    """Return the content of a JSON file, as lists and maps, after a check of its values.

    Args:
        path: The file.
        kind: Type of its content.
        remedy: What to do about a wrong file, the end of the error.

    Raises:
        ValueError: If the file is not valid JSON or holds a wrong value.
    """
    return parse_json(path, read_text(path, remedy), kind, remedy)


def parse_json(where: object, text: str, kind: Any, remedy: str) -> Any:  # noqa: ANN401
    """Return the values of a JSON text, as lists and maps, after a check.

    Args:
        where: Name of the text in errors.
        text: The text.
        kind: Type of its values.
        remedy: What to do about a wrong text, the end of the error.

    Raises:
        ValueError: If the text is not valid JSON or holds a wrong value.
    """
    try:
        values = files.parse_json(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not valid JSON: {error}; {remedy}") from error
    check(where, values, kind, remedy)
    return values


def check(where: object, value: Any, kind: type[T], remedy: str) -> T:  # noqa: ANN401
    """Return a value if it is of a type.

    Args:
        where: Name of the value in the error.
        value: The value.
        kind: Its type.
        remedy: What to do about a wrong value, the end of the error.

    Raises:
        ValueError: If the value, or one in it, is not of the type.
    """
    return _validated(f"{where}: ", value, kind, remedy, strict=None)


def _columns(row: Any) -> list[str]:  # noqa: ANN401
    return [field.name for field in dataclasses.fields(row)]


def _rows(
    path: Path, found: Sequence[Any], row: type[T], remedy: str, *, strict: bool | None
) -> list[T]:
    kind = Annotated[list[row], FailFast()]
    return _validated(f"{path}: row ", found, kind, remedy, strict=strict)


def _validated(where: str, value: Any, kind: Any, remedy: str, *, strict: bool | None) -> Any:  # noqa: ANN401
    try:
        return TypeAdapter(kind).validate_python(value, strict=strict)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        others = error.error_count() - 1
        place = ", ".join(map(str, problem["loc"]))
        got = "" if problem["type"] == "missing" else f", got {_short(problem['input'])}"
        more = f" (and {others} more)" if others else ""
        raise ValueError(
            f"{where}{f'{place}: ' if place else ''}{problem['msg']}{got}{more}; {remedy}"
        ) from None


def read_text(path: Path, remedy: str) -> str:
    """Return the text of a file.

    Raises:
        ValueError: If the file cannot be read, is no text or is larger than `LARGEST`.
    """
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise ValueError(f"{path}: has {size} bytes, at most {LARGEST} are allowed; {remedy}")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a readable text file: {error}; {remedy}") from error


def _short(value: object) -> str:
    """Return the text of a value, cut to 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
