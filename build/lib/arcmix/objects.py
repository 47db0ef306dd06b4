"""Questions about the objects of a grid, and their answers (learn-to-count, arc24 iteration 2).

An object is an area of one color whose cells are connected by their sides. The most frequent
color is the background, which contains no objects. So the answers are computed from the grid
alone, also if augmentation has rotated it or permuted its colors.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np

from arcmix.tasks import COLORS

QUESTIONS = (
    "How many objects are there?",
    "What are the areas of all objects, from small to big?",
    "What is the area of the biggest object?",
    "What is the area of the smallest object?",
    "How many objects are there of each color?",
)
"""The questions, by number."""


class Object(NamedTuple):
    """An area of one color."""

    color: int
    area: int
    """Number of its cells."""


def background(grid: np.ndarray) -> int:
    """Return the most frequent color of a grid, uint8 (height, width); the lowest of a tie."""
    return int(np.bincount(grid.reshape(-1), minlength=COLORS).argmax())


def find(grid: np.ndarray) -> list[Object]:
    """Return the objects of a grid, uint8 (height, width), in row order of their first cells."""
    behind = background(grid)
    # A margin of background keeps the indices of neighbors in bounds.
    cells = np.pad(grid, 1, constant_values=behind).reshape(-1).tolist()
    below = grid.shape[1] + 2
    found = []
    for start, color in enumerate(cells):
        if color == behind:
            continue
        cells[start] = behind
        area = [start]
        # The loop appends to the list that it iterates over.
        for place in area:
            for next_ in (place + 1, place + below, place - 1, place - below):
                if cells[next_] == color:
                    cells[next_] = behind
                    area.append(next_)
        found.append(Object(color, len(area)))
    return found


def answers(grid: np.ndarray) -> tuple[str, ...]:
    """Return the answer to each of `QUESTIONS` for a grid, uint8 (height, width).

    Areas are separated by commas. The number of objects of each color is written as
    `1: 2, 4: 1`, sorted by color: here, two objects have color 1.

    Raises:
        ValueError: If the grid has no object.
    """
    found = find(grid)
    if not found:
        raise ValueError(
            f"the grid of shape {grid.shape} has no object to count; leave its task out"
        )
    areas = sorted(one.area for one in found)
    colors = sorted(Counter(one.color for one in found).items())
    return (
        str(len(found)),
        ", ".join(map(str, areas)),
        str(areas[-1]),
        str(areas[0]),
        ", ".join(f"{color}: {number}" for color, number in colors),
    )
