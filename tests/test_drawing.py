import re

import numpy as np
from hypothesis import given

from arcmix import drawing
from tests.arc import grids


def cells(picture):
    """Return the grid that a picture draws."""
    [(width, height)] = re.findall(r'viewBox="0 0 (\d+) (\d+)"', picture)
    found = np.full((int(height), int(width)), 99)
    for color, path in re.findall(r'class="c(\d)" d="([^"]*)"', picture):
        for x, y, length in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\3z", path):
            run = found[int(y), int(x) : int(x) + int(length)]
            assert len(run) == int(length)
            assert (run == 99).all()
            run[:] = int(color)
    return found


@given(grids)
def test_a_picture_covers_each_cell_once_in_its_color(grid):
    np.testing.assert_array_equal(cells(drawing.picture(grid, 9)), grid)


def test_a_picture_says_its_size_in_cells_and_has_it_in_pixels():
    drawn = drawing.picture(np.zeros((2, 5), np.uint8), 9)
    assert 'role="img" aria-label="grid of 2 by 5 cells" width="45" height="18"' in drawn


def test_there_is_a_rule_for_each_color():
    assert len(set(drawing.PALETTE)) == 10
    assert ".c4 { fill: #FFDC00; }" in drawing.STYLE


def test_a_page_is_whole_and_has_the_look_of_all_pages_and_its_own():
    found = drawing.page("a<b", "h9 { }\n", "<h9>c</h9>")
    assert found.startswith('<!DOCTYPE html>\n<html lang="en">\n')
    assert "<title>a&lt;b</title>" in found
    assert f"<style>\n{drawing.STYLE}h9 {{ }}\n</style>" in found
    assert found.endswith("<body>\n<h9>c</h9>\n</body>\n</html>\n")
