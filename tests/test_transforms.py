import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcmix import transforms
from tests.arc import grids

SYMMETRIES = range(transforms.SYMMETRIES)
LOPSIDED = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
views = st.builds(transforms.Transform, st.integers(0, 7), st.permutations(range(10)).map(tuple))
sizes, factors = st.integers(1, 5), st.integers(1, 4)
turns = st.builds(transforms.Turn, st.integers(0, 7))
paddings = st.builds(transforms.Padding, sizes, sizes, st.integers(0, 9))
upscales = st.builds(transforms.Upscale, factors, factors)
mirrors = st.builds(transforms.Mirror, st.sampled_from([0, 1]), st.booleans())


def test_symmetry_0_is_the_identity():
    np.testing.assert_array_equal(transforms.turn(LOPSIDED, 0), LOPSIDED)


def test_symmetry_1_rotates_counterclockwise_by_a_quarter_turn():
    assert transforms.turn(LOPSIDED, 1).tolist() == [[3, 6], [2, 5], [1, 4]]


def test_symmetry_5_flips_left_and_right_before_it_rotates():
    assert transforms.turn(LOPSIDED, 5).tolist() == [[1, 4], [2, 5], [3, 6]]


def test_the_eight_symmetries_differ_and_odd_ones_swap_height_and_width():
    seen = [transforms.turn(LOPSIDED, symmetry) for symmetry in range(transforms.SYMMETRIES)]
    assert len({(one.shape, one.tobytes()) for one in seen}) == 8
    assert [s for s, one in enumerate(seen) if one.shape == (3, 2)] == [1, 3, 5, 7]


def after(first, second):
    """Return the symmetry that equals one symmetry followed by another."""
    both = transforms.turn(transforms.turn(LOPSIDED, first), second)
    [found] = [s for s in SYMMETRIES if np.array_equal(both, transforms.turn(LOPSIDED, s))]
    return found


@given(grids, st.sampled_from(SYMMETRIES), st.sampled_from(SYMMETRIES))
def test_the_composition_of_two_symmetries_does_not_depend_on_the_grid(cells, first, second):
    both = transforms.turn(transforms.turn(cells, first), second)
    np.testing.assert_array_equal(both, transforms.turn(cells, after(first, second)))


def test_the_symmetries_are_the_group_of_the_square():
    table = np.array([[after(first, second) for second in SYMMETRIES] for first in SYMMETRIES])
    for one in table.tolist() + table.T.tolist():
        assert sorted(one) == [*SYMMETRIES]
    assert table[0].tolist() == table[:, 0].tolist() == [*SYMMETRIES]
    # (a then b) then c is a then (b then c).
    np.testing.assert_array_equal(table[table], table[:, table])
    # Of the two non-commutative groups of order eight, only this one has five involutions.
    assert (table != table.T).any()
    assert [s for s in SYMMETRIES if table[s, s] == 0] == [0, 2, 4, 5, 6, 7]


@given(grids, views | turns | paddings | upscales | mirrors)
def test_invert_is_the_inverse_of_apply(cells, change):
    changed = change.apply(cells)
    assert changed.dtype == np.uint8
    np.testing.assert_array_equal(change.invert(changed), cells)


@given(grids, st.integers(0, 7))
def test_a_turn_equals_a_transform_without_recoloring(cells, symmetry):
    view = transforms.Transform(symmetry, tuple(range(10)))
    np.testing.assert_array_equal(transforms.Turn(symmetry).apply(cells), view.apply(cells))


def test_a_padding_adds_a_frame():
    assert transforms.Padding(1, 2, 9).apply(LOPSIDED[:, :2]).tolist() == [
        [9, 9, 9, 9, 9, 9],
        [9, 9, 1, 2, 9, 9],
        [9, 9, 4, 5, 9, 9],
        [9, 9, 9, 9, 9, 9],
    ]


def test_an_upscale_replaces_each_cell_with_a_block():
    assert transforms.Upscale(1, 2).apply(LOPSIDED).tolist() == [
        [1, 1, 2, 2, 3, 3],
        [4, 4, 5, 5, 6, 6],
    ]
    assert transforms.Upscale(2, 1).apply(LOPSIDED[:1]).tolist() == [[1, 2, 3], [1, 2, 3]]


@pytest.mark.parametrize(
    ("mirror", "image"),
    [
        pytest.param(
            transforms.Mirror(0, image_first=False), [[1, 2], [4, 5], [4, 5], [1, 2]], id="below"
        ),
        pytest.param(
            transforms.Mirror(0, image_first=True), [[4, 5], [1, 2], [1, 2], [4, 5]], id="above"
        ),
        pytest.param(
            transforms.Mirror(1, image_first=False), [[1, 2, 2, 1], [4, 5, 5, 4]], id="right"
        ),
        pytest.param(
            transforms.Mirror(1, image_first=True), [[2, 1, 1, 2], [5, 4, 4, 5]], id="left"
        ),
    ],
)
def test_a_mirror_appends_the_image_to_the_grid(mirror, image):
    assert mirror.apply(LOPSIDED[:, :2]).tolist() == image


@given(st.integers(0, 2**32), st.booleans())
def test_a_color_map_is_a_permutation_and_moves_the_background_only_on_request(seed, moves):
    keys = np.random.default_rng(seed).integers(1, 2**60, (50, 10)).astype(np.uint64)
    maps = transforms.color_maps(keys, np.full(50, moves))
    assert (np.sort(maps, axis=1) == np.arange(10)).all()
    assert (maps[:, 0] == 0).all() != moves


def test_color_maps_map_each_color_to_every_color():
    keys = np.random.default_rng(0).integers(1, 2**60, (4000, 10)).astype(np.uint64)
    maps = transforms.color_maps(keys, np.zeros(4000, bool))
    counts = np.array([np.bincount(maps[:, color], minlength=10) for color in range(1, 10)])
    # The expected frequency of each of 9 colors is 444 of 4000, with standard deviation 20.
    assert counts[:, 1:].min() > 340
    assert counts[:, 1:].max() < 550
