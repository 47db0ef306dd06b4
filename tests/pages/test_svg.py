import re

import numpy as np
from hypothesis import given

from arcmix.pages import svg, templates
from tests.arc import grids


def cells(picture):
    """Return the grid that a picture shows."""
    [(width, height)] = re.findall(r'viewBox="0 0 (\d+) (\d+)"', picture)
    found = np.full((int(height), int(width)), 99)
    for color, path in re.findall(r'class="c(\d)" d="([^"]*)"', picture):
        for x, y, length in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\3z", path):
            run = found[int(y), int(x) : int(x) + int(length)]
            assert len(run) == int(length)
            assert (run == 99).all()
            run[:] = int(color)
    return found


def drawn(grid):
    """Return the picture of a grid as a rendered page."""
    return templates.render("grid.svg", picture=svg.picture(grid, 9))


@given(grids)
def test_a_picture_fills_each_cell_once_with_its_color(grid):
    np.testing.assert_array_equal(cells(drawn(grid)), grid)


def test_a_picture_has_its_size_in_cells_and_in_pixels():
    found = drawn(np.zeros((2, 5), np.uint8))
    assert 'role="img" aria-label="grid of 2 by 5 cells" width="45" height="18"' in found


def test_a_picture_has_a_line_between_neighboring_cells():
    assert svg.picture(np.zeros((2, 3), np.uint8), 9).lines == "M1 0v2M2 0v2M0 1h3"


def test_the_palette_has_ten_distinct_colors():
    assert len(svg.PALETTE) == len(set(svg.PALETTE)) == 10
