import inspect
import itertools
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcmix.sources import dsl
from tests.arc import grids

numbers = st.integers(-3, 40)
places = st.tuples(numbers, numbers)
sets = st.frozensets(places, max_size=20)
objects = st.frozensets(st.tuples(st.integers(0, 9), places), max_size=20)
patches = st.one_of(sets, objects)


def one_by_one(items: Iterable[Any]) -> list[Any]:
    """Return the order of a set that is filled item by item, as in re-arc."""
    return list(frozenset(item for item in items))


def places_of(patch: frozenset[Any]) -> list[tuple[int, int]]:
    return [item[1] if isinstance(item[1], tuple) else item for item in patch]


@given(patches)
def test_toindices_keeps_the_order_of_the_places(patch: frozenset[Any]) -> None:
    expected = places_of(patch)

    if expected == list(patch):
        assert dsl.toindices(patch) == patch
        assert list(dsl.toindices(patch)) == expected
    else:
        assert list(dsl.toindices(patch)) == one_by_one(expected)


@given(patches.filter(bool))
def test_corners_are_the_smallest_and_largest_rows_and_columns(patch: frozenset[Any]) -> None:
    rows, columns = zip(*places_of(patch), strict=True)

    assert (dsl.uppermost(patch), dsl.leftmost(patch)) == (min(rows), min(columns))
    assert (dsl.lowermost(patch), dsl.rightmost(patch)) == (max(rows), max(columns))
    assert dsl.ulcorner(patch) == (min(rows), min(columns))
    assert dsl.lrcorner(patch) == (max(rows), max(columns))


@pytest.mark.parametrize("name", ["uppermost", "lowermost", "leftmost", "rightmost"])
def test_an_empty_patch_has_no_corners(name: str) -> None:
    with pytest.raises(ValueError, match="empty"):
        vars(dsl)[name](frozenset())


@given(sets, places)
def test_shift_keeps_the_order_of_places(patch: frozenset[Any], by: tuple[int, int]) -> None:
    expected = one_by_one((i + by[0], j + by[1]) for i, j in patch)

    assert list(dsl.shift(patch, by)) == expected


@given(objects, places)
def test_shift_keeps_the_order_of_objects(cells: frozenset[Any], by: tuple[int, int]) -> None:
    expected = one_by_one((color, (i + by[0], j + by[1])) for color, (i, j) in cells)

    assert list(dsl.shift(cells, by)) == expected


@given(places)
def test_neighbors_surround_a_place(loc: tuple[int, int]) -> None:
    steps = [step for step in itertools.product((-1, 0, 1), repeat=2) if step != (0, 0)]
    straight = {(loc[0] + a, loc[1] + b) for a, b in steps if 0 in (a, b)}

    assert dsl.dneighbors(loc) == straight
    assert dsl.ineighbors(loc) == {(loc[0] + a, loc[1] + b) for a, b in steps} - straight
    assert list(dsl.neighbors(loc)) == list(dsl.dneighbors(loc) | dsl.ineighbors(loc))


@given(st.frozensets(sets, max_size=6))
def test_merge_keeps_the_order_of_insertion(patches: frozenset[frozenset[Any]]) -> None:
    assert list(dsl.merge(patches)) == one_by_one(item for patch in patches for item in patch)
    assert dsl.merge(tuple(patches)) == tuple(item for patch in patches for item in patch)


@given(sets)
def test_apply_and_sfilter_keep_the_order_of_items(patch: frozenset[Any]) -> None:
    assert list(dsl.apply(sum, patch)) == one_by_one(sum(place) for place in patch)
    assert dsl.apply(sum, tuple(patch)) == tuple(sum(place) for place in patch)

    odd = [place for place in patch if sum(place) % 2]
    assert list(dsl.sfilter(patch, lambda place: sum(place) % 2 == 1)) == one_by_one(odd)
    assert dsl.sfilter(tuple(patch), lambda place: sum(place) % 2 == 1) == tuple(odd)


@given(grids, st.data())
def test_occurrences_are_the_places_where_the_object_matches(
    grid: np.ndarray, data: st.DataObject
) -> None:
    rows = tuple(map(tuple, (grid % 2).tolist()))
    height, width = grid.shape
    near = st.tuples(st.integers(-2, height), st.integers(-2, width))
    cells = data.draw(st.dictionaries(near, st.integers(0, 1), max_size=4))
    top, left = (min((at[axis] for at in cells), default=0) for axis in (0, 1))

    expected = {
        (i, j)
        for i in range(height)
        for j in range(width)
        if all(
            0 <= i + a - top < height
            and 0 <= j + b - left < width
            and rows[i + a - top][j + b - left] == color
            for (a, b), color in cells.items()
        )
    }
    assert dsl.occurrences(rows, frozenset((c, at) for at, c in cells.items())) == expected


def test_replace_functions_adds_every_replacement_and_keeps_other_names() -> None:
    module = ModuleType("dsl")
    vars(module).update(shift=None, other=3)

    dsl.replace_functions(module)

    names = {name for name, value in vars(dsl).items() if hasattr(value, "__wrapped__")}
    names |= {name for name, value in inspect.getmembers(dsl, inspect.isfunction)}
    for name in names - {"replace_functions"}:
        assert name.startswith("_") or vars(module)[name] is vars(dsl)[name]
    assert vars(module)["other"] == 3
