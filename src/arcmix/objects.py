"""Questions about the objects of a grid, and their answers (learn-to-count, arc24 iteration 2).

An object is an area of one color, connected by sides; the color of most cells is the
background and makes none. So an answer is a function of the grid: a grid that was turned
or recolored, its background too, has answers of its own.
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
"""The kinds of questions, by number."""


class Object(NamedTuple):
    """An area of one color."""

    color: int
    area: int
    """Number of its cells."""


def background(grid: np.ndarray) -> int:
    """Return the color of most cells of a grid, uint8 (height, width); of a tie the lowest."""
    return int(np.bincount(grid.reshape(-1), minlength=COLORS).argmax())


def find(grid: np.ndarray) -> list[Object]:
    """Return the objects of a grid, uint8 (height, width), row by row by their first cell."""
    behind = background(grid)
    # A margin that is no object, so that no cell is at an edge; neighbors are steps in a list.
    cells = np.pad(grid, 1, constant_values=behind).reshape(-1).tolist()
    below = grid.shape[1] + 2
    found = []
    for start, color in enumerate(cells):
        if color == behind:
            continue
        cells[start] = behind
        area = [start]
        # The list grows while it is walked.
        for place in area:
            for next_ in (place + 1, place + below, place - 1, place - below):
                if cells[next_] == color:
                    cells[next_] = behind
                    area.append(next_)
        found.append(Object(color, len(area)))
    return found


def answers(grid: np.ndarray) -> tuple[str, ...]:
    """Return the answer to each of `QUESTIONS` for a grid, uint8 (height, width).

    Areas are separated by commas. The objects of each color read `1: 2, 4: 1`, by ascending
    color, where two have color 1.

    Raises:
        ValueError: If the grid has no object.
    """
    found = find(grid)
    if not found:
        raise ValueError(f"a grid to count in has objects, this one of {grid.shape} has none")
    areas = sorted(one.area for one in found)
    colors = sorted(Counter(one.color for one in found).items())
    return (
        str(len(found)),
        ", ".join(map(str, areas)),
        str(areas[-1]),
        str(areas[0]),
        ", ".join(f"{color}: {number}" for color, number in colors),
    )
