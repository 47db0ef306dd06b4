"""Augmentation: training samples drawn from entries.

A sample has a symmetry, a color map, an order of its pairs and a choice of its test. It may also
become a new task, by a change of only its inputs or only its outputs (`new_tasks`).

Sample i is a function of (seed, i) and of the entries, so any part of the stream can be drawn on
its own. All draws and all grids of a chunk are computed at once. A pool contains each grid in all
eight symmetries, and the cells of a chunk are one gather from it. Only new tasks are computed one
by one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from arcmix import integers, program, randomness, transforms
from arcmix.config.params import Augment
from arcmix.objects import QUESTIONS
from arcmix.sampling import new_tasks, sample_table
from arcmix.tasks import COLORS, Task

CHUNK = 1000
"""Number of samples drawn at once; they fit into the cache of a processor. No sample depends on
it."""


@dataclass(frozen=True)
class Pool:
    """The grids of all entries in all symmetries, as flat arrays.

    The pairs of all entries are numbered. The input of pair p is grid 2 * p, its output is grid
    2 * p + 1.
    """

    cells: np.ndarray
    """Cells of each grid in each symmetry, uint8 (cells,)."""
    starts: np.ndarray
    """Index of the first cell of each grid in each symmetry, int64 (grids, 8)."""
    shapes: np.ndarray
    """Height and width of each grid, uint8 (grids, 2)."""
    first_pair: np.ndarray
    """Number of the first pair of each entry, int64 (entries,)."""
    train_pairs: np.ndarray
    """Number of demonstrations of each entry, int64 (entries,)."""
    test_pairs: np.ndarray
    """Number of tests of each entry, int64 (entries,)."""


def pool(entries: Sequence[Task]) -> Pool:
    """Return the pool of some entries."""
    pairs = [pair for entry in entries for pair in entry.train + entry.test]
    grids = [side for pair in pairs for side in (pair.input, pair.output)]
    turned = [
        transforms.turn(one, s).reshape(-1) for one in grids for s in range(transforms.SYMMETRIES)
    ]
    ends = np.cumsum([len(flat) for flat in turned], dtype=np.int64)
    train = np.array([len(entry.train) for entry in entries], np.int64)
    test = np.array([len(entry.test) for entry in entries], np.int64)
    return Pool(
        cells=np.concatenate(turned),
        starts=np.concatenate([[0], ends[:-1]]).reshape(len(grids), transforms.SYMMETRIES),
        shapes=np.array([one.shape for one in grids], np.uint8),
        first_pair=np.cumsum(train + test) - (train + test),
        train_pairs=train,
        test_pairs=test,
    )


def chunks(
    source: Pool, slots: np.ndarray, settings: Augment, seed: int, total: int
) -> Iterator[sample_table.DrawnChunk]:
    """Yield samples 0 to `total - 1` in chunks; see `draw` for the other arguments."""
    with program.progress(total, "draw samples", "sample") as bar:
        for first in range(0, total, CHUNK):
            count = min(CHUNK, total - first)
            yield draw(source, slots, settings, seed, first, count)
            bar.update(count)


def draw(
    source: Pool, slots: np.ndarray, settings: Augment, seed: int, first: int, count: int
) -> sample_table.DrawnChunk:
    """Draw samples `first` to `first + count - 1`.

    Args:
        source: The grids of the entries.
        slots: Entry numbers of one pass over the dataset, int64 (n,). Each pass draws all of them
            in a new order.
        settings: The augmentation.
        seed: The experiment's seed.
        first: Number of the first sample.
        count: Number of samples.
    """
    if settings.swap == "exchange":
        # In arc24, a task has all of its tests in each of its exchanges.
        lists = (1 + source.train_pairs * source.test_pairs) * source.test_pairs
        slots = slots.repeat(lists[slots])
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
    # These arrays have one element per cell.
    index = integers.index_type(len(source.cells), ends[-1], colors.size)
    where = np.arange(ends[-1], dtype=index)
    shift = integers.narrowed(source.starts[grids, symmetry] - (ends - sizes), index)
    where += np.repeat(shift, sizes)
    cells = source.cells.take(where)
    row_starts = integers.narrowed(COLORS * sample, index)
    recolored = colors.take(np.repeat(row_starts, sizes) + cells)
    plain = sample_table.DrawnChunk(
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
    return new_tasks.make(plain, settings.new_tasks, seed)


def _entries(slots: np.ndarray, seed: int, first: int, count: int) -> np.ndarray:
    index = np.arange(first, first + count)
    entries = np.empty(count, np.int64)
    for number in range(first // len(slots), (first + count - 1) // len(slots) + 1):
        order = slots[randomness.permutation(seed, "augment/order", number, len(slots))]
        in_pass = index // len(slots) == number
        entries[in_pass] = order[index[in_pass] % len(slots)]
    return entries


def _symmetries(
    known: int, entries: np.ndarray, settings: Augment, seed: int, first: int
) -> np.ndarray:
    """Return the symmetry of each sample, int64 (n,), given the number of `known` entries."""
    words = randomness.words(seed, "augment/symmetry", first, len(entries), 1)[:, 0]
    drawn = randomness.below(words, settings.symmetries)
    if settings.symmetries in (1, transforms.SYMMETRIES):
        return drawn
    # Each entry has its own symmetries: the first ones of a random order. The identity may not be
    # among them.
    keys = randomness.words(seed, "augment/symmetries", 0, known, transforms.SYMMETRIES)
    return np.argsort(keys, axis=1)[entries, drawn]


def _colors(settings: Augment, seed: int, first: int, count: int) -> np.ndarray:
    words = randomness.words(seed, "augment/colors", first, count, COLORS + 2)
    swapped = transforms.color_maps(
        words[:, 2:], randomness.uniform(words[:, 1]) < settings.background
    )
    # There are `color_swaps` recolored samples per original, which is dropped if it is not kept.
    kept = int(settings.preserve_colors or settings.color_swaps == 0)
    share = settings.color_swaps / (settings.color_swaps + kept)
    recolored = randomness.uniform(words[:, :1]) < share
    return np.where(recolored, swapped, np.array(range(COLORS), np.uint8))


def _pairs(
    source: Pool, entries: np.ndarray, settings: Augment, seed: int, first: int
) -> np.ndarray:
    """Return the pairs of each sample, int64 (n, width): the test is last, -1 is padding."""
    train, test = source.train_pairs[entries][:, None], source.test_pairs[entries][:, None]
    width = int((source.train_pairs + source.test_pairs).max())
    keys = randomness.uniform(randomness.words(seed, "augment/pairs", first, len(entries), width))
    place = np.arange(width)
    # Sorting by a random key in [0, 1) shuffles. An integer added to the key sorts by group first:
    # 0 for demonstrations, 1 for tests, 2 for the places beyond the pairs of the entry.
    group = (place >= train).astype(np.int64) + (place >= train + test)
    order = np.argsort(
        keys + (np.where(group < 2, 0, 2) if settings.swap is True else group), axis=1
    )
    if not settings.permute:
        # The first places contain the demonstrations, which are sorted back into their own order.
        order = np.where(place < train, np.sort(np.where(place < train, order, width)), order)
    if settings.swap == "exchange":
        _exchange(order, train[:, 0], test[:, 0], seed, first)
    return np.where(place <= train, order + source.first_pair[entries][:, None], -1)


def _exchange(
    order: np.ndarray, train: np.ndarray, test: np.ndarray, seed: int, first: int
) -> None:
    """Exchange one demonstration and one test, or none, in each row (arc24 `swap_one_...`)."""
    words = randomness.words(seed, "augment/exchange", first, len(order), 3)
    ways = train * test
    rows = np.flatnonzero(randomness.uniform(words[:, 0]) * (1 + ways) < ways)
    one = randomness.below(words[rows, 1], train[rows])
    other = train[rows] + randomness.below(words[rows, 2], test[rows])
    order[rows, one], order[rows, other] = order[rows, other], order[rows, one]


def _questions(
    source: Pool, entries: np.ndarray, seed: int, first: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of questions of each sample, int64 (n,), and all kinds, uint8 (questions,).

    A grid to count in has all kinds of questions. Each sample has its own order, because in a fixed
    order, an answer would help with the next question.
    """
    grids = source.train_pairs[entries] == 0
    keys = randomness.words(seed, "augment/questions", first, len(entries), len(QUESTIONS))
    kinds = integers.narrowed(np.argsort(keys[grids], axis=1), np.uint8)
    return grids * len(QUESTIONS), kinds.reshape(-1)
