"""Training samples drawn from entries: symmetry, colors, order of pairs, choice of test.

On top of that a sample may become a new task, by a change of its inputs or outputs alone.

Sample i is a function of (seed, i) and of the entries, so any part of the stream can be
drawn on its own. All draws and all grids of a stretch are computed at once: each grid's
eight symmetric copies lie side by side in one pool, and a sample is a gather from it. Only
new tasks are then made one by one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from arcmix import draws, files, grid
from arcmix.count import QUESTIONS
from arcmix.params import Augment, NewTasks
from arcmix.tasks import COLORS, MAX_SIDE, Pair, Task, ragged


@dataclass(frozen=True)
class NewTask:
    """A change of all inputs or all outputs of a sample, its test's too (arc24 iteration 16)."""

    side: Literal["input", "output"]
    change: grid.Change

    def __str__(self) -> str:
        return f"{self.side} {self.change}"


@dataclass(frozen=True)
class Pool:
    """The grids of all entries in all symmetries, as flat arrays.

    A pair has one number; its input is grid 2 * pair, its output grid 2 * pair + 1.
    """

    cells: np.ndarray
    """Cells of every grid in every symmetry, uint8."""
    starts: np.ndarray
    """First cell of a grid in a symmetry, int64 (grids, 8)."""
    shapes: np.ndarray
    """Height and width of a grid, uint8 (grids, 2)."""
    first_pair: np.ndarray
    """First pair of an entry, int64 (entries,)."""
    train_pairs: np.ndarray
    """Number of an entry's training pairs, int64 (entries,)."""
    test_pairs: np.ndarray
    """Number of an entry's test pairs, int64 (entries,)."""


@dataclass(frozen=True)
class Samples:
    """A stretch of samples as flat arrays; the last pair of a sample is its test."""

    first: int
    """Number of the first sample."""
    entries: np.ndarray
    """Entry of each sample, int64 (n,)."""
    symmetries: np.ndarray
    """Symmetry of each sample, int64 (n,)."""
    colors: np.ndarray
    """Color map of each sample, uint8 (n, 10)."""
    grids: np.ndarray
    """Number of grids of each sample, int64 (n,)."""
    shapes: np.ndarray
    """Height and width of each grid, uint8 (grids, 2)."""
    cells: np.ndarray
    """Cells of each grid, uint8."""
    asked: np.ndarray
    """Number of questions about each sample's grid, int64 (n,); 0 with demonstrations."""
    questions: np.ndarray
    """Kinds of the questions in the order in which they are asked, uint8."""
    new_tasks: Mapping[int, NewTask]
    """The new tasks among the samples, by their places in the stretch."""

    @property
    def stretch(self) -> "Stretch":
        """What the samples show, without how they were drawn."""
        return Stretch(self.grids, self.shapes, self.cells, self.asked, self.questions)


def pool(entries: Sequence[Task]) -> Pool:
    """Return the grids of entries, ready to draw from."""
    pairs = [pair for entry in entries for pair in entry.train + entry.test]
    grids = [side for pair in pairs for side in (pair.input, pair.output)]
    turned = [grid.turn(one, s).reshape(-1) for one in grids for s in range(grid.SYMMETRIES)]
    ends = np.cumsum([len(flat) for flat in turned], dtype=np.int64)
    train = np.array([len(entry.train) for entry in entries], np.int64)
    test = np.array([len(entry.test) for entry in entries], np.int64)
    return Pool(
        cells=np.concatenate(turned),
        starts=np.concatenate([[0], ends[:-1]]).reshape(len(grids), grid.SYMMETRIES),
        shapes=np.array([one.shape for one in grids], np.uint8),
        first_pair=np.cumsum(train + test) - (train + test),
        train_pairs=train,
        test_pairs=test,
    )


def draw(
    source: Pool, slots: np.ndarray, settings: Augment, seed: int, first: int, count: int
) -> Samples:
    """Draw samples `first` to `first + count - 1`.

    Args:
        source: The grids of the entries.
        slots: Entry numbers of one pass, int64; each pass draws all of them in a new order.
        settings: What may differ between a sample and its entry.
        seed: The experiment's seed.
        first: Number of the first sample.
        count: Number of samples.
    """
    entries = _entries(slots, seed, first, count)
    symmetries = _symmetries(len(source.first_pair), entries, settings, seed, first)
    colors = _colors(settings, seed, first, count)
    pairs = _pairs(source, entries, settings, seed, first)
    asked, questions = _questions(source, entries, seed, first)

    row, column = np.nonzero(pairs >= 0)
    numbers = pairs[row, column]
    grids = np.stack([2 * numbers, 2 * numbers + 1], axis=1).reshape(-1)
    sample = np.repeat(row, 2)
    symmetry = symmetries[sample]

    shapes = source.shapes[grids]
    sizes = shapes.prod(axis=1, dtype=np.int64)
    ends = np.cumsum(sizes)
    # int32: what takes the time is to move these arrays, one element a cell.
    where = np.arange(ends[-1], dtype=np.int32)
    where += np.repeat((source.starts[grids, symmetry] - (ends - sizes)).astype(np.int32), sizes)
    cells = source.cells.take(where)
    recolored = colors.take(np.repeat((COLORS * sample).astype(np.int32), sizes) + cells)
    plain = Samples(
        first=first,
        entries=entries,
        symmetries=symmetries,
        colors=colors,
        grids=np.bincount(sample, minlength=count),
        shapes=np.where((symmetry % 2 == 1)[:, None], shapes[:, ::-1], shapes),
        cells=recolored,
        asked=asked,
        questions=questions,
        new_tasks={},
    )
    drawn = _new_tasks(settings.new_tasks, seed, first, asked)
    return _make_new_tasks(plain, drawn) if drawn else plain


def _entries(slots: np.ndarray, seed: int, first: int, count: int) -> np.ndarray:
    index = np.arange(first, first + count)
    entries = np.empty(count, np.int64)
    for number in range(first // len(slots), (first + count - 1) // len(slots) + 1):
        order = slots[draws.permutation(seed, "augment/order", number, len(slots))]
        mine = index // len(slots) == number
        entries[mine] = order[index[mine] % len(slots)]
    return entries


def _symmetries(
    known: int, entries: np.ndarray, settings: Augment, seed: int, first: int
) -> np.ndarray:
    words = draws.words(seed, "augment/symmetry", first, len(entries), 1)[:, 0]
    drawn = draws.below(words, settings.symmetries)
    if settings.symmetries in (1, grid.SYMMETRIES):
        return drawn
    # Each entry has its own few, the first of a random order, perhaps without the identity.
    keys = draws.words(seed, "augment/symmetries", 0, known, grid.SYMMETRIES)
    return np.argsort(keys, axis=1)[entries, drawn]


def _colors(settings: Augment, seed: int, first: int, count: int) -> np.ndarray:
    words = draws.words(seed, "augment/colors", first, count, COLORS + 2)
    swapped = grid.color_maps(words[:, 2:], draws.uniform(words[:, 1]) < settings.background)
    # k recolored copies beside each original, or instead of it.
    kept = int(settings.preserve_colors or settings.color_swaps == 0)
    share = settings.color_swaps / (settings.color_swaps + kept)
    recolored = draws.uniform(words[:, :1]) < share
    return np.where(recolored, swapped, np.arange(COLORS, dtype=np.uint8))


def _pairs(
    source: Pool, entries: np.ndarray, settings: Augment, seed: int, first: int
) -> np.ndarray:
    """Return the pairs of each sample, its test last, -1 beyond: int64 (n, width)."""
    train, test = source.train_pairs[entries][:, None], source.test_pairs[entries][:, None]
    width = int((source.train_pairs + source.test_pairs).max())
    keys = draws.uniform(draws.words(seed, "augment/pairs", first, len(entries), width))
    place = np.arange(width)
    # Sorting by key shuffles; adding a whole number to a key keeps its pair in a group:
    # 0 for demonstrations, 1 for tests, 2 for places that this entry does not have.
    group = (place >= train).astype(np.int64) + (place >= train + test)
    order = np.argsort(
        keys + (np.where(group < 2, 0, 2) if settings.swap is True else group), axis=1
    )
    if not settings.permute:
        # The first places hold the demonstrations: back into their own order.
        order = np.where(place < train, np.sort(np.where(place < train, order, width)), order)
    if settings.swap == "exchange":
        _exchange(order, train[:, 0], test[:, 0], seed, first)
    return np.where(place <= train, order + source.first_pair[entries][:, None], -1)


def _exchange(
    order: np.ndarray, train: np.ndarray, test: np.ndarray, seed: int, first: int
) -> None:
    """Exchange a demonstration and a test, or none, in each row (arc24 `swap_one_...`)."""
    words = draws.words(seed, "augment/exchange", first, len(order), 3)
    ways = train * test
    rows = np.flatnonzero(draws.uniform(words[:, 0]) * (1 + ways) < ways)
    one = draws.below(words[rows, 1], train[rows])
    other = train[rows] + draws.below(words[rows, 2], test[rows])
    order[rows, one], order[rows, other] = order[rows, other], order[rows, one]


def _questions(
    source: Pool, entries: np.ndarray, seed: int, first: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return how many questions each sample asks, int64 (n,), and their kinds, uint8.

    All kinds, in an order of each sample's own: in a fixed one, an answer gives away the next.
    """
    grids = source.train_pairs[entries] == 0
    keys = draws.words(seed, "augment/questions", first, len(entries), len(QUESTIONS))
    return grids * len(QUESTIONS), np.argsort(keys[grids], axis=1).astype(np.uint8).reshape(-1)


def _new_tasks(settings: NewTasks, seed: int, first: int, asked: np.ndarray) -> dict[int, NewTask]:
    """Return the new tasks to make, by place in the stretch; a grid to count in stays itself."""
    numbers = draws.uniform(draws.words(seed, "augment/new-tasks", first, len(asked), 8))
    weights = settings.weights.model_dump()
    bounds = np.cumsum([*weights.values()])
    kinds = np.searchsorted(bounds, numbers[:, 1] * bounds[-1], side="right")
    return {
        int(row): NewTask(
            "input" if numbers[row, 2] < 0.5 else "output",
            _change([*weights][kinds[row]], *numbers[row, 3:7].tolist()),
        )
        for row in np.flatnonzero((numbers[:, 0] < settings.probability) & (asked == 0))
    }


def _change(kind: str, one: float, other: float, third: float, alike: float) -> grid.Change:
    """Return the change of a kind that numbers in [0, 1) choose."""
    match kind:
        case "geometric":
            return grid.Turn(1 + int(one * (grid.SYMMETRIES - 1)))
        case "padding":
            rows, columns = 1 + int(one * 5), 1 + int(other * 5)
            return grid.Padding(rows, rows if alike < 0.5 else columns, int(third * COLORS))
        case "upscale" if alike < 0.5:
            factor = 2 + int(one * 3)
            return grid.Upscale(factor, factor)
        case "upscale":
            # Any of 4 x 4 factors but the first, 1 x 1, which would change nothing.
            rows, columns = divmod(1 + int(one * 15), 4)
            return grid.Upscale(1 + rows, 1 + columns)
        case _:
            return grid.Mirror(0 if one < 0.5 else 1, image_first=other < 0.5)


def _make_new_tasks(samples: Samples, drawn: Mapping[int, NewTask]) -> Samples:
    """Return the samples with new tasks in place of those that stay within `MAX_SIDE`."""
    shapes, made = samples.shapes.copy(), {}
    ends = np.cumsum(shapes.prod(axis=1, dtype=np.int64)).tolist()
    # np.split does the same in as much time as all changes take.
    flat = [samples.cells[start:end] for start, end in pairwise([0, *ends])]
    bounds = np.cumsum([0, *samples.grids]).tolist()
    for row, new in drawn.items():
        numbers = range(bounds[row] + (new.side == "output"), bounds[row + 1], 2)
        changed = [new.change.apply(flat[number].reshape(shapes[number])) for number in numbers]
        if max(max(one.shape) for one in changed) <= MAX_SIDE:
            made[row] = new
            for number, one in zip(numbers, changed, strict=True):
                flat[number], shapes[number] = one.reshape(-1), one.shape
    return replace(samples, shapes=shapes, cells=np.concatenate(flat), new_tasks=made)


SCHEMA = pa.schema(
    [
        ("sample", pa.int64()),
        ("entry", pa.int64()),
        ("symmetry", pa.uint8()),
        ("colors", pa.list_(pa.uint8())),
        ("heights", pa.list_(pa.uint8())),
        ("widths", pa.list_(pa.uint8())),
        ("cells", pa.list_(pa.uint8())),
        ("questions", pa.list_(pa.uint8())),
        ("new_task", pa.string()),
    ]
)
"""One row a sample: its grids one after the other, input and output of each pair.

`questions` are the kinds of questions asked about a grid to count in, else none. `new_task` is what
made it a new task, such as "output Upscale(rows=2, columns=3)", or null.
"""


def table(samples: Samples) -> pa.Table:
    """Return samples as an Arrow table of `SCHEMA`."""
    count = len(samples.entries)
    sizes = samples.shapes.prod(axis=1, dtype=np.int64)
    grid_ends = np.cumsum(samples.grids)
    cell_ends = np.concatenate([[0], np.cumsum(sizes)])[grid_ends]
    texts = {row: str(new) for row, new in samples.new_tasks.items()}

    def lists(values: np.ndarray, ends: np.ndarray) -> pa.ListArray:
        return pa.ListArray.from_arrays(np.concatenate([[0], ends]).astype(np.int32), values)

    return pa.table(
        {
            "sample": np.arange(samples.first, samples.first + count),
            "entry": samples.entries,
            "symmetry": samples.symmetries.astype(np.uint8),
            "colors": ragged(list(samples.colors)),
            "heights": lists(np.ascontiguousarray(samples.shapes[:, 0]), grid_ends),
            "widths": lists(np.ascontiguousarray(samples.shapes[:, 1]), grid_ends),
            "cells": lists(samples.cells, cell_ends),
            "questions": lists(samples.questions, np.cumsum(samples.asked)),
            "new_task": [texts.get(row) for row in range(count)],
        },
        schema=SCHEMA,
    )


def write(path: Path, stretches: Iterator[Samples]) -> None:
    """Write stretches of samples into one Parquet file."""
    with files.replacing(path) as new, pq.ParquetWriter(new, SCHEMA, compression="zstd") as file:
        for stretch in stretches:
            file.write_table(table(stretch))


@dataclass(frozen=True)
class Stretch:
    """The grids of some samples as flat arrays; the last two of a sample are its test."""

    grids: np.ndarray
    """Number of grids of each sample, int64 (n,)."""
    shapes: np.ndarray
    """Height and width of each grid, uint8 (grids, 2)."""
    cells: np.ndarray
    """Cells of each grid, uint8."""
    asked: np.ndarray
    """Number of questions about each sample's grid, int64 (n,); 0 with demonstrations."""
    questions: np.ndarray
    """Kinds of the questions in the order in which they are asked, uint8."""


def stretches(path: Path, length: int) -> Iterator[Stretch]:
    """Yield the samples of a file in order, at most `length` at a time."""
    columns = ["heights", "widths", "cells", "questions"]
    for batch in pq.ParquetFile(path).iter_batches(batch_size=length, columns=columns):
        heights, widths, cells, questions = (batch.column(name) for name in columns)
        yield Stretch(
            np.diff(heights.offsets.to_numpy()).astype(np.int64),
            np.stack([heights.flatten().to_numpy(), widths.flatten().to_numpy()], axis=1),
            cells.flatten().to_numpy(),
            np.diff(questions.offsets.to_numpy()).astype(np.int64),
            questions.flatten().to_numpy(),
        )


def plain(samples: Sequence[Sequence[Pair]]) -> Stretch:
    """Return samples of pairs as a stretch, the inverse of `split`."""
    grids = [side for pairs in samples for pair in pairs for side in (pair.input, pair.output)]
    return Stretch(
        np.array([2 * len(pairs) for pairs in samples]),
        np.array([one.shape for one in grids], np.uint8),
        np.concatenate([one.reshape(-1) for one in grids]),
        np.zeros(len(samples), np.int64),
        np.zeros(0, np.uint8),
    )


def select(stretch: Stretch, rows: np.ndarray) -> Stretch:
    """Return some samples of a stretch, by a bool for each of them."""
    grids = np.repeat(rows, stretch.grids)
    sizes = stretch.shapes.prod(axis=1, dtype=np.int64)
    return Stretch(
        stretch.grids[rows],
        stretch.shapes[grids],
        stretch.cells[np.repeat(grids, sizes)],
        stretch.asked[rows],
        stretch.questions[np.repeat(rows, stretch.asked)],
    )


def shorten(stretch: Stretch, measure: Callable[[Stretch], Sequence[int]], limit: int) -> Stretch:
    """Return the samples with as many of their first demonstrations as fit (arc24 iteration 12).

    A sample that is too long with a single demonstration is left with that one.

    Args:
        stretch: Samples.
        measure: Returns the length of each sample.
        limit: Longest length.
    """
    counts = stretch.grids.copy()
    rows = np.arange(len(counts))
    while rows.size:
        long = np.array(measure(_shortened(stretch, rows, counts))) > limit
        rows = rows[long & (counts[rows] > 4)]
        counts[rows] -= 2
    return _shortened(stretch, np.arange(len(counts)), counts)


def _shortened(stretch: Stretch, rows: np.ndarray, counts: np.ndarray) -> Stretch:
    """Return the samples of some rows, of so many grids: the first ones and the test."""
    whole, wanted = (np.repeat(one, stretch.grids) for one in (stretch.grids, counts))
    starts = np.cumsum(stretch.grids) - stretch.grids
    place = np.arange(len(whole)) - np.repeat(starts, stretch.grids)
    kept = (place < wanted - 2) | (place >= whole - 2)
    cells = np.repeat(kept, stretch.shapes.prod(axis=1, dtype=np.int64))
    short = replace(stretch, grids=counts, shapes=stretch.shapes[kept], cells=stretch.cells[cells])
    return select(short, np.isin(np.arange(len(counts)), rows))


def split(stretch: Stretch) -> Iterator[tuple[Pair, ...]]:
    """Yield the pairs of each sample in order; the last one is its test."""
    ends = np.cumsum(stretch.shapes.prod(axis=1, dtype=np.int64))
    flat = np.split(stretch.cells, ends[:-1])
    grids = [cells.reshape(shape) for cells, shape in zip(flat, stretch.shapes, strict=True)]
    pairs = [Pair(*both) for both in zip(grids[::2], grids[1::2], strict=True)]
    stops = np.cumsum(stretch.grids // 2).tolist()
    for start, stop in zip([0, *stops[:-1]], stops, strict=True):
        yield tuple(pairs[start:stop])


def questions(stretch: Stretch) -> list[list[int]]:
    """Return the kinds of questions of each sample, in the order in which they are asked."""
    return [kinds.tolist() for kinds in np.split(stretch.questions, np.cumsum(stretch.asked)[:-1])]


def read(path: Path) -> Iterator[tuple[Pair, ...]]:
    """Yield the pairs of each sample in order; the last one is its test."""
    for stretch in stretches(path, 1000):
        yield from split(stretch)
