import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcmix import objects, transforms
from arcmix.objects import Object
from tests.arc import grids


def cells(*rows):
    return np.array([list(map(int, row)) for row in rows], np.uint8)


SCENE = cells(
    "0330010",
    "3300010",
    "0000000",
    "3000444",
    "0000404",
)
"""Objects: color 3 with 4 cells and with 1 cell, color 1 with 2 cells, color 4 with a notch."""


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How many objects are there?", "4"),
        ("What are the areas of all objects, from small to big?", "1, 2, 4, 5"),
        ("What is the area of the biggest object?", "5"),
        ("What is the area of the smallest object?", "1"),
        ("How many objects are there of each color?", "1: 1, 3: 2, 4: 1"),
    ],
)
def test_the_answer_to_each_question(question, answer):
    assert objects.answers(SCENE)[objects.QUESTIONS.index(question)] == answer


def test_every_question_has_an_answer():
    assert len(objects.answers(SCENE)) == len(objects.QUESTIONS)


def test_objects_are_in_row_order_with_their_colors():
    assert objects.find(SCENE) == [Object(3, 4), Object(1, 2), Object(3, 1), Object(4, 5)]


def test_the_background_is_the_most_frequent_color():
    scene = np.where(SCENE == 0, 7, SCENE).astype(np.uint8)
    scene[SCENE == 1] = 0
    assert objects.background(scene) == 7
    assert objects.answers(scene)[4] == "0: 1, 3: 2, 4: 1"


def test_diagonal_cells_and_opposite_edges_are_not_connected():
    assert objects.find(cells("1000", "0100", "0001")) == [Object(1, 1)] * 3
    # The end of a row and the start of the next row.
    assert objects.find(cells("0001", "1000", "0000")) == [Object(1, 1)] * 2


def test_touching_areas_of_two_colors_are_two_objects():
    assert objects.find(cells("0120", "0110", "0000")) == [Object(1, 3), Object(2, 1)]


def test_areas_are_sorted_as_numbers():
    scene = cells("111111111110", "000000000000", "220000000000")
    assert objects.answers(scene)[1] == "2, 11"


def test_a_grid_without_an_object_is_rejected():
    with pytest.raises(ValueError, match=r"grid of shape \(2, 3\) has no object"):
        objects.answers(cells("444", "444"))


@given(grids)
def test_every_cell_belongs_to_the_background_or_to_one_object(one):
    behind = np.count_nonzero(one == objects.background(one))
    assert behind + sum(found.area for found in objects.find(one)) == one.size


@given(st.integers(0, 7), st.permutations(range(10)))
def test_a_view_changes_only_the_colors_in_the_answers(symmetry, colors):
    seen = transforms.Transform(symmetry, tuple(colors)).apply(SCENE)
    assert objects.background(seen) == colors[0]
    assert objects.answers(seen)[:4] == objects.answers(SCENE)[:4]
    named = sorted([(colors[1], 1), (colors[3], 2), (colors[4], 1)])
    assert objects.answers(seen)[4] == ", ".join(f"{color}: {number}" for color, number in named)
