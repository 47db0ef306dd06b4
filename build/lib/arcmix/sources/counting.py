"""Learn-to-count: grids with random objects for the questions of `objects` (arc24, iteration 2).

An object has a random shape and any color except the background's. Objects never touch, not
even diagonally, and cover less than half of the grid. So `objects.find` finds exactly the
objects that were drawn.

The grid sizes form a curriculum: small grids are more frequent than large ones and contain
fewer objects. Grid i depends only on the settings and on (seed, i), so a larger dataset extends
a smaller one.
"""

import heapq
from collections import Counter

import numpy as np

from arcmix import program, randomness, tasks
from arcmix.config import origins
from arcmix.sources import pins
from arcmix.transforms import color_maps

MIN_SIDE = 3
"""Minimum side of a grid; 2 x 2 cells leave no choice of areas."""


def load(name: str, source: origins.CountingSource) -> pins.Loaded:
    """Draw the grids of the source.

    Args:
        name: Name of the source.
        source: Number and distribution of the grids.

    Returns:
        Tasks without demonstrations. Each has one test, whose output equals its input.

    Raises:
        ValueError: If the grids differ from the pin.
    """
    found = []
    with program.progress(source.tasks, f"draw {name}", "grid") as bar:
        for index in range(source.tasks):
            grid = draw(source, index)
            pair = tasks.Pair(grid, grid)
            found.append(tasks.Task(f"{index:07}", name, "training", 0, (), (pair,)))
            bar.update()
    pins.verify_draws(name, source, "tasks", lambda number: found[:number])
    return pins.Loaded(found, Counter(), f"draws of seed {source.seed}")


def draw(source: origins.Grids, index: int) -> np.ndarray:
    """Return grid number `index`, uint8 (height, width)."""

    def words(purpose: str, width: int) -> np.ndarray:
        return randomness.words(source.seed, f"counting/{purpose}", index, 1, width)[0]

    # The minimum of several draws favors short sides; more draws favor them more.
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
    """Return a grid with objects, which are placed until no free cell or no `room` is left.

    Args:
        keys: A random number for each cell. An object starts at the free cell with the lowest
            number and grows to the free neighbor with the lowest number.
        background: Color of the background.
        areas: Number of cells of each object; an object stays smaller if it lacks space.
        paints: Color of each object.
        room: Maximum number of cells of all objects together.
    """
    # A margin of cells that are not free keeps the indices of neighbors in bounds.
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
    """Return up to `area` connected free cells; the next is the neighbor with the lowest key."""
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
