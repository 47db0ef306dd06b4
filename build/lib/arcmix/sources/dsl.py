"""Faster replacements for functions of re-arc's `dsl` module.

Generators draw from sets in iteration order. That order depends on the order in which elements
were inserted, and on whether they were inserted one by one. So a replacement fills its sets as
the original does. It returns equal values, its sets have the same iteration order, and the drawn
tasks stay the same.

A patch is a set of places (row, column), or an object: a set of (color, place).
"""

import functools
import itertools
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

Place = tuple[int, int]
Patch = frozenset[Any]
Container = frozenset[Any] | tuple[Any, ...]


def replace_functions(dsl: ModuleType) -> None:
    """Replace the slow functions of `dsl`; call this before other modules import from it."""
    vars(dsl).update({function.__name__: function for function in REPLACEMENTS})


def toindices(patch: Patch) -> Patch:
    """Return the places of a patch."""
    if not patch:
        return frozenset()
    return frozenset(_places(patch)) if _is_object(patch) else patch


def _places(patch: Patch) -> Iterable[Place]:
    return [place for _, place in patch] if patch and _is_object(patch) else patch


def _is_object(patch: Patch) -> bool:
    return isinstance(next(iter(patch))[1], tuple)


def uppermost(patch: Patch) -> int:
    """Return the smallest row of a patch."""
    return min([i for i, _ in _places(patch)])


def lowermost(patch: Patch) -> int:
    """Return the largest row of a patch."""
    return max([i for i, _ in _places(patch)])


def leftmost(patch: Patch) -> int:
    """Return the smallest column of a patch."""
    return min([j for _, j in _places(patch)])


def rightmost(patch: Patch) -> int:
    """Return the largest column of a patch."""
    return max([j for _, j in _places(patch)])


def ulcorner(patch: Patch) -> Place:
    """Return the smallest row and the smallest column of a patch."""
    return tuple(map(min, zip(*_places(patch), strict=True)))


def lrcorner(patch: Patch) -> Place:
    """Return the largest row and the largest column of a patch."""
    return tuple(map(max, zip(*_places(patch), strict=True)))


def shift(patch: Patch, directions: Place) -> Patch:
    """Return a patch shifted by a number of rows and columns."""
    if not patch:
        return patch
    down, right = directions
    if _is_object(patch):
        return frozenset([(color, (i + down, j + right)) for color, (i, j) in patch])
    return frozenset([(i + down, j + right) for i, j in patch])


@functools.cache
def dneighbors(loc: Place) -> Patch:
    """Return the four neighbors of a place that share a side with it."""
    i, j = loc
    return frozenset([(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)])


@functools.cache
def ineighbors(loc: Place) -> Patch:
    """Return the four diagonal neighbors of a place."""
    i, j = loc
    return frozenset([(i - 1, j - 1), (i - 1, j + 1), (i + 1, j - 1), (i + 1, j + 1)])


@functools.cache
def neighbors(loc: Place) -> Patch:
    """Return the eight neighbors of a place."""
    return dneighbors(loc) | ineighbors(loc)


def merge(containers: Container) -> Container:
    """Return the items of all containers in a container of the outer type."""
    return type(containers)(itertools.chain.from_iterable(containers))


def apply(function: Callable[[Any], Any], container: Container) -> Container:
    """Return the results of a function for each item, in a container of the same type."""
    return type(container)([function(item) for item in container])


def sfilter(container: Container, condition: Callable[[Any], bool]) -> Container:
    """Return the items that satisfy a condition, in a container of the same type."""
    return type(container)([item for item in container if condition(item)])


def occurrences(
    grid: tuple[tuple[int, ...], ...], cells: frozenset[tuple[int, tuple[int, int]]]
) -> frozenset[tuple[int, int]]:
    """Return the upper left corner of each occurrence of an object in a grid.

    re-arc builds a shifted copy of the object for each place, which took a third of the total
    time.
    """
    top = min((i for _, (i, _) in cells), default=0)
    left = min((j for _, (_, j) in cells), default=0)
    moved = [(color, i - top, j - left) for color, (i, j) in cells]
    below = max((i for _, i, _ in moved), default=0)
    right = max((j for *_, j in moved), default=0)
    found = set()
    for i in range(len(grid) - below):
        for j in range(len(grid[0]) - right):
            for color, a, b in moved:
                if grid[i + a][j + b] != color:
                    break
            else:
                found.add((i, j))
    return frozenset(found)


REPLACEMENTS = (
    apply,
    dneighbors,
    ineighbors,
    leftmost,
    lowermost,
    lrcorner,
    merge,
    neighbors,
    occurrences,
    rightmost,
    sfilter,
    shift,
    toindices,
    ulcorner,
    uppermost,
)
"""All replacements."""
