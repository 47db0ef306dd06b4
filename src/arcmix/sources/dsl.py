"""Functions that stand in for those of the same name in re-arc's `dsl`, which are slower.

Generators choose from sets, in the order in which sets are walked. That depends on the order in
which a set was filled and on whether it was filled one by one, so a stand-in fills it likewise:
it returns equal values, sets in equal order, and what is drawn stays the same.

A patch is a set of places (row, column), or an object, a set of (color, place).
"""

import functools
import itertools
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

Place = tuple[int, int]
Patch = frozenset[Any]
Container = frozenset[Any] | tuple[Any, ...]


def mend(dsl: ModuleType) -> None:
    """Put the stand-ins in their places; to be done before others import names from `dsl`."""
    vars(dsl).update({function.__name__: function for function in STAND_INS})


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
    """Return the first row of a patch."""
    return min([i for i, _ in _places(patch)])


def lowermost(patch: Patch) -> int:
    """Return the last row of a patch."""
    return max([i for i, _ in _places(patch)])


def leftmost(patch: Patch) -> int:
    """Return the first column of a patch."""
    return min([j for _, j in _places(patch)])


def rightmost(patch: Patch) -> int:
    """Return the last column of a patch."""
    return max([j for _, j in _places(patch)])


def ulcorner(patch: Patch) -> Place:
    """Return the first row and the first column of a patch."""
    return tuple(map(min, zip(*_places(patch), strict=True)))


def lrcorner(patch: Patch) -> Place:
    """Return the last row and the last column of a patch."""
    return tuple(map(max, zip(*_places(patch), strict=True)))


def shift(patch: Patch, directions: Place) -> Patch:
    """Return a patch moved down and to the right."""
    if not patch:
        return patch
    down, right = directions
    if _is_object(patch):
        return frozenset([(color, (i + down, j + right)) for color, (i, j) in patch])
    return frozenset([(i + down, j + right) for i, j in patch])


@functools.cache
def dneighbors(loc: Place) -> Patch:
    """Return the four places that share a side with one."""
    i, j = loc
    return frozenset([(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)])


@functools.cache
def ineighbors(loc: Place) -> Patch:
    """Return the four places that share only a corner with one."""
    i, j = loc
    return frozenset([(i - 1, j - 1), (i - 1, j + 1), (i + 1, j - 1), (i + 1, j + 1)])


@functools.cache
def neighbors(loc: Place) -> Patch:
    """Return the eight places around one."""
    return dneighbors(loc) | ineighbors(loc)


def merge(containers: Container) -> Container:
    """Return the items of all containers in one of the outer one's type."""
    return type(containers)(itertools.chain.from_iterable(containers))


def apply(function: Callable[[Any], Any], container: Container) -> Container:
    """Return what a function makes of each item, in a container of the same type."""
    return type(container)([function(item) for item in container])


def sfilter(container: Container, condition: Callable[[Any], bool]) -> Container:
    """Return the items that satisfy a condition, in a container of the same type."""
    return type(container)([item for item in container if condition(item)])


def occurrences(
    grid: tuple[tuple[int, ...], ...], cells: frozenset[tuple[int, tuple[int, int]]]
) -> frozenset[tuple[int, int]]:
    """Return where in a grid an object occurs, by its upper left corner.

    re-arc moves the object to each place anew, which took a third of all time.
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


STAND_INS = (
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
"""All of the above."""
