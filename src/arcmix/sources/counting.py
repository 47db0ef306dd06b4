"""Learn-to-count: grids of random objects, to ask `arcmix.count` about (arc24, iteration 2).

The objects are of any shape and of any color but the background's. No two touch, not even
by their corners, and together they cover less than half of the grid, so that the objects
which `count` finds are the ones that were drawn.

The curriculum is in the sizes: small grids come more often than large ones, and there is
room for few objects in them. Grid i is a function of the settings and of (seed, i), so
that more grids extend fewer.
"""

import heapq
from collections import Counter

import numpy as np

from arcmix import program, randomness, tasks
from arcmix.config import params
from arcmix.sources import pins
from arcmix.transforms import color_maps

MIN_SIDE = 3
"""Shortest side of a grid; 2 x 2 cells leave no choice of areas."""


def load(name: str, source: params.CountingSource) -> pins.Loaded:
    """Draw the grids of the source.

    Args:
        name: Name of the source.
        source: How many to draw, and how.

    Returns:
        Tasks without a demonstration; the one test is a grid, which is its own output.
    """
    found = []
    with program.progress(source.tasks, f"draw {name}", "grid") as bar:
        for index in range(source.tasks):
            grid = draw(source, index)
            pair = tasks.Pair(grid, grid)
            found.append(tasks.Task(f"{index:07}", name, "training", 0, (), (pair,)))
            bar.update()
    return pins.Loaded(found, Counter(), f"draws of seed {source.seed}")


def draw(source: params.CountingSource, index: int) -> np.ndarray:
    """Return grid number `index`, uint8 (height, width)."""

    def words(purpose: str, width: int) -> np.ndarray:
        return randomness.words(source.seed, f"counting/{purpose}", index, 1, width)[0]

    # Of several draws the smallest is small, and the more so the more they are.
    sides = randomness.below(words("sides", 2 * source.curriculum), source.max_side - MIN_SIDE + 1)
    height, width = (MIN_SIDE + sides.reshape(2, -1).min(axis=1)).tolist()
    size = height * width
    limits = np.array([source.objects, tasks.COLORS - 1, (size - 1) // 2])
    count, colors, room = 1 + randomness.below(words("amounts", 3), limits)
    moves = randomness.uniform(words("background", 1)) < source.background
    names = color_maps(words("names", tasks.COLORS)[None], moves)[0]

    chosen = words("objects", 2 * source.objects).reshape(2, -1)[:, :count]
    areas = 1 + randomness.below(chosen[0], max(1, 2 * room // count))
    paints = names[1 + randomness.below(chosen[1], colors)]
    return place(words("cells", size).reshape(height, width), names[0], areas, paints, room)


def place(
    keys: np.ndarray, background: int, areas: np.ndarray, paints: np.ndarray, room: int
) -> np.ndarray:
    """Return a grid with objects, for as long as there is a place and `room` for them.

    Args:
        keys: A random number for each cell; objects begin at the lowest and grow by them.
        background: Color of the grid.
        areas: Cells of each object, where there are so many.
        paints: Color of each object.
        room: Cells of all objects together.
    """
    # A margin that is not free, so that no cell is at an edge.
    grid = np.full(np.add(keys.shape, 2), background, np.uint8)
    keys = np.pad(keys, 1)
    free = np.pad(np.ones_like(grid[1:-1, 1:-1], bool), 1)
    for area, paint in zip(areas.tolist(), paints.tolist(), strict=True):
        cells = _grown(free, keys, min(area, room))
        for row, column in cells:
            grid[row, column] = paint
            free[row - 1 : row + 2, column - 1 : column + 2] = False
        room -= len(cells)
    return grid[1:-1, 1:-1]


def _grown(free: np.ndarray, keys: np.ndarray, area: int) -> list[tuple[int, int]]:
    """Return connected free cells, at most `area`: the next is a neighbor of the lowest key."""
    places = np.argwhere(free)
    if not area or not len(places):
        return []
    start = places[keys[free].argmin()]
    edge = [(0, *start.tolist())]
    seen = {edge[0][1:]}
    grown = []
    while edge and len(grown) < area:
        _, row, column = heapq.heappop(edge)
        grown.append((row, column))
        for place in ((row, column + 1), (row + 1, column), (row, column - 1), (row - 1, column)):
            if free[place] and place not in seen:
                seen.add(place)
                heapq.heappush(edge, (int(keys[place]), *place))
    return grown
