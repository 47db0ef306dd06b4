"""New tasks made from samples by a change of only the inputs or only the outputs.

They follow arc24's iterations 16 and 21. A change is drawn among those that fit the grids. If there
are none of the drawn kind, the sample stays as it is. arc24 also draws the identity as a symmetry,
and its frames may make a grid larger than `MAX_SIDE`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Literal

import numpy as np

from arcmix import randomness, transforms
from arcmix.config.params import NewTasks
from arcmix.sampling.sample_table import DrawnChunk
from arcmix.tasks import COLORS, MAX_SIDE

Pair = tuple[int, int]
"""A number for the rows and one for the columns."""


@dataclass(frozen=True)
class NewTask:
    """A change of all inputs or all outputs of a sample, with its test."""

    side: Literal["input", "output"]
    """The grids that are changed."""
    change: transforms.Change
    """The change."""

    def __str__(self) -> str:
        return f"{self.side} {self.change}"


def make(samples: DrawnChunk, settings: NewTasks, seed: int) -> DrawnChunk:
    """Return samples of which some have become new tasks.

    Args:
        samples: Consecutive samples.
        settings: The share of new tasks, and the weights of the kinds.
        seed: The experiment's seed.
    """
    drawn = _draw(samples, settings, seed)
    if not drawn:
        return samples
    shapes = samples.shapes.copy()
    ends = np.cumsum(shapes.prod(axis=1, dtype=np.int64)).tolist()
    # np.split would take as much time as all changes.
    flat = [samples.cells[start:end] for start, end in pairwise([0, *ends])]
    bounds = np.cumsum([0, *samples.grids]).tolist()
    for row, new in drawn.items():
        for number in range(bounds[row] + (new.side == "output"), bounds[row + 1], 2):
            changed = new.change.apply(flat[number].reshape(shapes[number]))
            flat[number], shapes[number] = changed.reshape(-1), changed.shape
    return replace(samples, shapes=shapes, cells=np.concatenate(flat), new_tasks=drawn)


def _draw(samples: DrawnChunk, settings: NewTasks, seed: int) -> dict[int, NewTask]:
    """Return the new tasks by place in the chunk. Samples with questions become no new tasks."""
    count = len(samples.grids)
    words = randomness.words(seed, "augment/new-tasks", samples.first, count, 8)
    numbers = randomness.uniform(words)
    chosen = np.flatnonzero((numbers[:, 0] < settings.probability) & (samples.asked == 0))
    if not len(chosen):
        return {}
    weights = settings.weights.model_dump()
    kinds, bounds = [*weights], np.cumsum([*weights.values()])
    drawn = np.searchsorted(bounds, numbers[:, 1] * bounds[-1], side="right")
    # Inputs and outputs alternate. For each side, the largest height and width of each sample.
    starts = (np.cumsum(samples.grids) - samples.grids) // 2
    largest = [np.maximum.reduceat(samples.shapes[side::2], starts) for side in (0, 1)]
    found = {}
    for row in chosen.tolist():
        side = int(numbers[row, 2] >= 0.5)
        height, width = largest[side][row].tolist()
        change = CHANGES[kinds[drawn[row]]]((height, width), numbers[row, 3:7].tolist())
        if change:
            found[row] = NewTask("output" if side else "input", change)
    return found


def _geometric(_: Pair, numbers: Sequence[float]) -> transforms.Change:
    return transforms.Turn(1 + int(numbers[0] * (transforms.SYMMETRIES - 1)))


def _padding(largest: Pair, numbers: Sequence[float]) -> transforms.Change | None:
    # A frame has two sides.
    rows, columns = (min(max(0, MAX_SIDE - side) // 2, 5) for side in largest)
    widths = _two(1, (rows, columns), numbers[0], same=numbers[3] < 0.5)
    return transforms.Padding(*widths, int(numbers[2] * COLORS)) if widths else None


def _upscale(largest: Pair, numbers: Sequence[float]) -> transforms.Change | None:
    rows, columns = (min(MAX_SIDE // side, 4) for side in largest)
    factors = _two(2, (rows, columns), numbers[0], same=numbers[3] < 0.5)
    return transforms.Upscale(*factors) if factors else None


def _mirror(largest: Pair, numbers: Sequence[float]) -> transforms.Change | None:
    height, width = largest
    fit: list[Literal[0, 1]] = []
    if max(2 * height, width) <= MAX_SIDE:
        fit.append(0)
    if max(height, 2 * width) <= MAX_SIDE:
        fit.append(1)
    if not fit:
        return None
    return transforms.Mirror(fit[int(numbers[0] * len(fit))], image_first=numbers[1] < 0.5)


def _two(smallest: int, largest: Pair, number: float, *, same: bool) -> Pair | None:
    """Return two equal or two different numbers, None if there are none that fit.

    Args:
        smallest: The smallest of two equal numbers. Different ones start at 1.
        largest: The largest number for the rows and the largest for the columns.
        number: A random number in [0, 1), which chooses among all pairs that fit.
        same: Whether the numbers are equal. They are also equal if no different ones fit.
    """
    equal = [(size, size) for size in range(smallest, min(largest) + 1)]
    pairs = product(*(range(1, most + 1) for most in largest))
    different = [] if same else [(rows, columns) for rows, columns in pairs if rows != columns]
    options = different or equal
    return options[int(number * len(options))] if options else None


CHANGES: Mapping[str, Callable[[Pair, Sequence[float]], transforms.Change | None]] = {
    "geometric": _geometric,
    "padding": _padding,
    "upscale": _upscale,
    "mirror": _mirror,
}
"""Kind of a change -> a function that draws one that fits.

The function gets the largest height and the largest width of the grids, and four random numbers in
[0, 1). It returns None if no change of the kind fits.
"""
