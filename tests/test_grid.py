import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from arcmix import grid
from tests.arc import grids

LOPSIDED = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
views = st.builds(grid.View, st.integers(0, 7), st.permutations(range(10)).map(tuple))


def test_the_first_symmetry_changes_nothing():
    np.testing.assert_array_equal(grid.turn(LOPSIDED, 0), LOPSIDED)


def test_symmetry_1_turns_a_quarter_against_the_clock():
    assert grid.turn(LOPSIDED, 1).tolist() == [[3, 6], [2, 5], [1, 4]]


def test_symmetry_5_flips_left_and_right_before_it_turns():
    assert grid.turn(LOPSIDED, 5).tolist() == [[1, 4], [2, 5], [3, 6]]


def test_the_eight_symmetries_all_differ_and_the_odd_ones_swap_the_sides():
    seen = [grid.turn(LOPSIDED, symmetry) for symmetry in range(grid.SYMMETRIES)]
    assert len({(one.shape, one.tobytes()) for one in seen}) == 8
    assert [s for s, one in enumerate(seen) if one.shape == (3, 2)] == [1, 3, 5, 7]


@given(st.integers(0, 7), st.integers(0, 7))
def test_two_symmetries_make_a_third(first, second):
    both = grid.turn(grid.turn(LOPSIDED, first), second)
    assert any(
        np.array_equal(both, grid.turn(LOPSIDED, symmetry)) for symmetry in range(grid.SYMMETRIES)
    )


@given(grids, views)
def test_invert_undoes_apply(cells, view):
    np.testing.assert_array_equal(view.invert(view.apply(cells)), cells)


@given(st.integers(0, 2**32), st.booleans())
def test_a_color_map_is_a_permutation_that_moves_the_background_only_if_told(seed, moves):
    keys = np.random.default_rng(seed).integers(1, 2**60, (50, 10)).astype(np.uint64)
    maps = grid.color_maps(keys, np.full(50, moves))
    assert (np.sort(maps, axis=1) == np.arange(10)).all()
    assert (maps[:, 0] == 0).all() != moves


def test_color_maps_reach_every_color_from_every_other():
    keys = np.random.default_rng(0).integers(1, 2**60, (4000, 10)).astype(np.uint64)
    maps = grid.color_maps(keys, np.zeros(4000, bool))
    counts = np.array([np.bincount(maps[:, color], minlength=10) for color in range(1, 10)])
    # Each of 9 colors is drawn 444 times of 4000, give or take 20.
    assert counts[:, 1:].min() > 340
    assert counts[:, 1:].max() < 550
