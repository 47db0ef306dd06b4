"""The sample table: training samples as flat arrays, in memory and in one Parquet file.

Samples are drawn, written, read and tokenized in chunks. A chunk concatenates the grids of its
samples, so that an operation on a chunk is one operation on an array.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, Strict

from arcmix import checked, files, integers
from arcmix.objects import QUESTIONS
from arcmix.tasks import COLORS, Pair, ragged

SCHEMA = pa.schema(
    [
        ("sample", pa.int64()),
        ("entry", pa.int64()),
        ("symmetry", pa.uint8()),
        ("colors", pa.large_list(pa.uint8())),
        ("heights", pa.large_list(pa.uint8())),
        ("widths", pa.large_list(pa.uint8())),
        ("cells", pa.large_list(pa.uint8())),
        ("questions", pa.large_list(pa.uint8())),
        ("new_task", pa.string()),
    ]
)
"""One row per sample, with its grids concatenated: input and output of each pair.

`questions` are the kinds of questions about a grid to count in, and empty for a task. `new_task` is
the change that made the sample a new task, such as "output Upscale(rows=2, columns=3)", or null.
"""

PARTS = ["heights", "widths", "cells", "questions"]
"""Columns of a chunk."""

REMEDY = "repeat the stage that writes the table: dvc repro -f -s augment"
"""End of the error about a wrong table."""


@dataclass(frozen=True)
class Chunk:
    """Consecutive samples as flat arrays; the last two grids of a sample are its test."""

    grids: np.ndarray
    """Number of grids of each sample, int64 (n,)."""
    shapes: np.ndarray
    """Height and width of each grid, uint8 (grids, 2)."""
    cells: np.ndarray
    """Cells of all grids, uint8 (cells,)."""
    asked: np.ndarray
    """Number of questions of each sample, int64 (n,); 0 for a sample of a task."""
    questions: np.ndarray
    """Numbers of the questions in the order in which they are asked, uint8 (questions,)."""


@dataclass(frozen=True)
class DrawnChunk(Chunk):
    """A chunk of samples, and how each of them was drawn."""

    first: int
    """Number of the first sample."""
    entries: np.ndarray
    """Entry of each sample, int64 (n,)."""
    symmetries: np.ndarray
    """Symmetry of each sample, int64 (n,)."""
    colors: np.ndarray
    """Color map of each sample, uint8 (n, 10)."""
    new_tasks: Mapping[int, object]
    """Place in the chunk -> the change that made this sample a new task."""


def to_arrow(samples: DrawnChunk) -> pa.Table:
    """Return samples as an Arrow table of `SCHEMA`."""
    count = len(samples.entries)
    sizes = samples.shapes.prod(axis=1, dtype=np.int64)
    grid_ends = np.cumsum(samples.grids)
    cell_ends = np.concatenate([[0], np.cumsum(sizes)])[grid_ends]
    texts = {row: str(new) for row, new in samples.new_tasks.items()}

    def lists(values: np.ndarray, ends: np.ndarray) -> pa.LargeListArray:
        return pa.LargeListArray.from_arrays(np.concatenate([[0], ends]), values)

    return pa.table(
        {
            "sample": np.arange(samples.first, samples.first + count),
            "entry": samples.entries,
            "symmetry": integers.narrowed(samples.symmetries, np.uint8),
            "colors": ragged(list(samples.colors)),
            "heights": lists(np.ascontiguousarray(samples.shapes[:, 0]), grid_ends),
            "widths": lists(np.ascontiguousarray(samples.shapes[:, 1]), grid_ends),
            "cells": lists(samples.cells, cell_ends),
            "questions": lists(samples.questions, np.cumsum(samples.asked)),
            "new_task": [texts.get(row) for row in range(count)],
        },
        schema=SCHEMA,
    )


def write(path: Path, chunks: Iterable[DrawnChunk]) -> np.ndarray:
    """Write chunks of samples to a Parquet file and return the entry of each, int64 (n,)."""
    entries = [np.zeros(0, np.int64)]
    with files.replacing(path) as new, pq.ParquetWriter(new, SCHEMA, compression="zstd") as file:
        for chunk in chunks:
            file.write_table(to_arrow(chunk))
            entries.append(chunk.entries)
    return np.concatenate(entries)


def read_chunks(path: Path, length: int) -> Iterator[Chunk]:
    """Yield the samples of a file in order, at most `length` at a time.

    Raises:
        ValueError: If the file is no table of `SCHEMA`, or a sample has wrong grids or questions.
    """
    with checked.readable(path, REMEDY), pq.ParquetFile(path) as file:
        _require_schema(path, file.schema_arrow)
        first = 0
        for batch in file.iter_batches(batch_size=length, columns=PARTS):
            batch.validate(full=True)
            yield _chunk(path, batch, first)
            first += batch.num_rows


def _chunk(path: Path, batch: pa.RecordBatch, first: int) -> Chunk:
    """Return the samples of a batch that begins with sample number `first`."""
    columns = [batch.column(name) for name in PARTS]
    flat = [column.flatten() for column in columns]
    empty = any(values.null_count for values in (*columns, *flat))
    heights, widths, cells, questions = (values.to_numpy(zero_copy_only=False) for values in flat)
    grids, wide, sizes, asked = (
        np.diff(one.offsets.to_numpy()).astype(np.int64) for one in columns
    )
    if not empty and np.array_equal(grids, wide):
        shapes = np.stack([heights, widths], axis=1)
        found = Chunk(grids, shapes, cells, asked, questions)
        if _valid(found, sizes):
            return found
    raise ValueError(
        f"{path}: the {batch.num_rows} samples from {first} on have empty cells, an odd number of"
        f" grids, grids that their cells do not fill, colors above {COLORS - 1} or unknown"
        f" questions; {REMEDY}"
    )


def _valid(chunk: Chunk, sizes: np.ndarray) -> bool:
    """Return whether the cells fill the grids, given the number of cells of each sample."""
    ends = np.concatenate([[0], np.cumsum(chunk.shapes.prod(axis=1, dtype=np.int64))])
    stops = np.cumsum(chunk.grids)
    filled = np.array_equal(ends[stops] - ends[stops - chunk.grids], sizes)
    paired = bool(((chunk.grids >= 2) & (chunk.grids % 2 == 0)).all())
    values = (
        chunk.shapes.min(initial=1) > 0
        and chunk.cells.max(initial=0) < COLORS
        and chunk.questions.max(initial=0) < len(QUESTIONS)
    )
    return filled and paired and bool(values)


@checked.STRICT
@dataclass(frozen=True)
class Sample:
    """A row of the table (`SCHEMA`)."""

    sample: checked.Count
    entry: checked.Count
    symmetry: Annotated[int, Field(ge=0, lt=8), Strict()]
    colors: Annotated[list[checked.Color], Field(min_length=COLORS, max_length=COLORS)]
    heights: list[checked.Side]
    widths: list[checked.Side]
    cells: list[checked.Color]
    questions: list[checked.Count]
    new_task: checked.Text | None


def read_rows(path: Path, count: int) -> list[dict[str, Any]]:
    """Return the first rows of a file, with the fields of `Sample`.

    Args:
        path: The file.
        count: Maximum number of samples.

    Raises:
        ValueError: If the file is no table of `SCHEMA`, has no sample, or has a wrong value.
    """
    with checked.readable(path, REMEDY), pq.ParquetFile(path) as file:
        _require_schema(path, file.schema_arrow)
        batch = next(file.iter_batches(batch_size=count), None)
        rows = [] if batch is None else batch.to_pylist()
    if not rows:
        raise ValueError(f"{path}: has no samples; {REMEDY}")
    checked.check(path, rows, list[Sample], REMEDY)
    return rows


def read_entries(path: Path) -> np.ndarray:
    """Return the entry of each sample of a file, int64 (n,).

    Raises:
        ValueError: If the file is no table of `SCHEMA`, or an entry is empty or negative.
    """
    with checked.readable(path, REMEDY), pq.ParquetFile(path) as file:
        _require_schema(path, file.schema_arrow)
        column = file.read(columns=["entry"])["entry"]
    entries = column.to_numpy()
    if column.null_count or entries.min(initial=0) < 0:
        raise ValueError(f"{path}: an entry is empty or negative; {REMEDY}")
    return entries


def _require_schema(path: Path, found: pa.Schema) -> None:
    if not found.equals(SCHEMA):
        raise ValueError(
            f"{path}: not a table of samples: expected the columns {SCHEMA.names} with their types,"
            f" found {found.names}; {REMEDY}"
        )


def from_pairs(samples: Sequence[Sequence[Pair]]) -> Chunk:
    """Return samples, each a sequence of pairs, as a chunk; the inverse of `split`."""
    grids = [side for pairs in samples for pair in pairs for side in (pair.input, pair.output)]
    return Chunk(
        np.array([2 * len(pairs) for pairs in samples]),
        np.array([one.shape for one in grids], np.uint8),
        np.concatenate([one.reshape(-1) for one in grids]),
        np.zeros(len(samples), np.int64),
        np.zeros(0, np.uint8),
    )


def select(chunk: Chunk, rows: np.ndarray) -> Chunk:
    """Return the samples of a chunk for which `rows`, bool (n,), is true."""
    grids = np.repeat(rows, chunk.grids)
    sizes = chunk.shapes.prod(axis=1, dtype=np.int64)
    return Chunk(
        chunk.grids[rows],
        chunk.shapes[grids],
        chunk.cells[np.repeat(grids, sizes)],
        chunk.asked[rows],
        chunk.questions[np.repeat(rows, chunk.asked)],
    )


def shorten(chunk: Chunk, measure: Callable[[Chunk], Sequence[int]], limit: int) -> Chunk:
    """Return the samples without the last demonstrations that do not fit (arc24 iteration 12).

    A sample that is too long with one demonstration keeps this one.

    Args:
        chunk: The samples.
        measure: Returns the length of each sample of a chunk.
        limit: Maximum length.
    """
    counts = chunk.grids.copy()
    rows = np.arange(len(counts))
    while rows.size:
        long = np.array(measure(_shortened(chunk, rows, counts))) > limit
        rows = rows[long & (counts[rows] > 4)]
        counts[rows] -= 2
    return _shortened(chunk, np.arange(len(counts)), counts)


def _shortened(chunk: Chunk, rows: np.ndarray, counts: np.ndarray) -> Chunk:
    """Return samples with fewer grids: the first ones and the two of the test.

    Args:
        chunk: All samples.
        rows: Numbers of the samples to return.
        counts: New number of grids of each sample of the chunk.
    """
    whole, wanted = (np.repeat(one, chunk.grids) for one in (chunk.grids, counts))
    starts = np.cumsum(chunk.grids) - chunk.grids
    place = np.arange(len(whole)) - np.repeat(starts, chunk.grids)
    kept = (place < wanted - 2) | (place >= whole - 2)
    cells = np.repeat(kept, chunk.shapes.prod(axis=1, dtype=np.int64))
    short = replace(chunk, grids=counts, shapes=chunk.shapes[kept], cells=chunk.cells[cells])
    return select(short, np.isin(np.arange(len(counts)), rows))


def split(chunk: Chunk) -> Iterator[tuple[Pair, ...]]:
    """Yield the pairs of each sample in order; the last one is its test."""
    ends = np.cumsum(chunk.shapes.prod(axis=1, dtype=np.int64))
    flat = np.split(chunk.cells, ends[:-1])
    grids = [cells.reshape(shape) for cells, shape in zip(flat, chunk.shapes, strict=True)]
    pairs = [Pair(*both) for both in zip(grids[::2], grids[1::2], strict=True)]
    stops = np.cumsum(chunk.grids // 2).tolist()
    for start, stop in zip([0, *stops[:-1]], stops, strict=True):
        yield tuple(pairs[start:stop])


def questions(chunk: Chunk) -> list[list[int]]:
    """Return the kinds of questions of each sample, in the order in which they are asked."""
    return [kinds.tolist() for kinds in np.split(chunk.questions, np.cumsum(chunk.asked)[:-1])]


def read_pairs(path: Path) -> Iterator[tuple[Pair, ...]]:
    """Yield the pairs of each sample in order; the last one is its test."""
    for chunk in read_chunks(path, 1000):
        yield from split(chunk)
