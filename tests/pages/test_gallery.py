import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcmix.pages import gallery, svg
from arcmix.pages.gallery import Exhibit, IndexRow, Token
from tests.arc import task
from tests.pages.test_svg import cells

ROW = {
    "sample": 17,
    "entry": 713,
    "symmetry": 6,
    "colors": [0, 2, 1, 3, 4, 5, 6, 7, 8, 9],
    "heights": [1, 2, 1, 2],
    "widths": [3, 1, 3, 1],
    "cells": [1, 1, 1, 2, 3, 4, 4, 4, 5, 6],
}
TOKENS = [Token("a", special=False, trained=False), Token("b", special=False, trained=True)]


def shown(exhibit):
    """Return the page of one exhibit."""
    return gallery.page("title", "lead", [exhibit])


def facts(page):
    """Return the lines under the title of an exhibit."""
    return re.findall("<li>(.*?)</li>", page)


def pictures(page):
    """Return the grids of a page in their order."""
    return [cells(found) for found in re.findall("<svg.*?</svg>", page)]


def test_a_task_shows_all_its_pairs_and_its_facts():
    found = shown(gallery.task(task("00d62c1b", train=3, test=2)))
    assert re.findall("<h2>(.*)</h2>", found) == ["00d62c1b"]
    assert facts(found) == ["training", "3 demonstrations", "2 tests", "45 cells"]
    titles = ["demonstration 1", "demonstration 2", "demonstration 3", "test 1", "test 2"]
    assert re.findall("<h3>(.*?)</h3>", found) == titles
    assert found.count("<svg") == 10


def test_a_drawn_task_shows_its_difficulty():
    found = shown(gallery.task(replace(task(), variation=3, rng=0.25, pso=0.5)))
    assert facts(found)[-2:] == ["variation 3", "difficulty: RNG 0.25, PSO 0.50"]


@pytest.mark.parametrize(
    ("widths", "side"),
    [
        pytest.param([2, 3], 20, id="small"),
        pytest.param([3, 24], 10, id="of-one-scale"),
        pytest.param([3, 93], 4, id="long"),
    ],
)
def test_the_longest_side_sets_the_cell_size_of_all_grids(widths, side):
    row = ROW | {"heights": [1] * 4, "widths": widths * 2, "cells": [0] * sum(widths) * 2}
    panels = gallery.sample(row, TOKENS, 512).panels
    drawn = [picture for panel in panels for picture in panel.pictures]
    assert [(picture.width, picture.side) for picture in drawn] == [
        (width, side) for width in widths * 2
    ]


def test_a_sample_shows_its_grids_its_color_map_and_its_other_columns():
    row = ROW | {"change": "pad <2>", "none": None, "empty": []}
    found = shown(gallery.sample(row, TOKENS, 512))
    assert facts(found) == [
        "entry 713",
        "symmetry 6",
        "change pad &lt;2&gt;",
        "2 tokens",
        "1 of them with loss",
    ]
    strip, *drawn = pictures(found)
    assert strip.tolist() == [[*range(10)], ROW["colors"]]
    assert [grid.tolist() for grid in drawn] == [
        [[1, 1, 1]],
        [[2], [3]],
        [[4, 4, 4]],
        [[5], [6]],
    ]
    assert re.findall("<h3>(.*?)</h3>", found) == ["demonstration 1", "test 1"]


def test_a_sample_without_demonstrations_shows_one_grid():
    row = ROW | {"heights": [2, 2], "widths": [3, 3], "cells": [0, 1, 2, 3, 4, 5] * 2}
    found = shown(gallery.sample(row, TOKENS, 512))
    assert re.findall("<h3>(.*?)</h3>", found) == ["grid 1"]
    _, grid = pictures(found)
    assert grid.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("length", "longest", "fact"),
    [
        (2, 2, "2 tokens"),
        (2, 1, "2 tokens, more than the 1 that training takes"),
        (1, 2, "1 token"),
    ],
)
def test_a_sample_shows_its_number_of_tokens_and_if_it_is_too_long(length, longest, fact):
    assert gallery.sample(ROW, TOKENS[:length], longest).facts[2] == fact


def test_a_text_has_an_element_for_each_token_and_marks_runs_with_loss():
    tokens = [
        Token("1<2", special=False, trained=False),
        Token("\n", special=False, trained=False),
        Token("yes", special=False, trained=True),
        Token("<end>", special=True, trained=True),
        Token("&", special=False, trained=False),
        Token("no", special=False, trained=True),
    ]
    exhibit = Exhibit("a", [], [], runs=gallery.runs(tokens))
    assert (
        '<pre><i>1&lt;2</i><i class="end">\n</i>'
        '<mark><i>yes</i><i class="special">&lt;end&gt;</i></mark>'
        "<i>&amp;</i><mark><i>no</i></mark></pre>\n"
    ) in shown(exhibit)


@given(st.text())
def test_the_pieces_of_byte_tokens_make_up_the_text(text):
    ids = text.encode()
    pieces = gallery.pieces(lambda part: bytes(part).decode(errors="replace"), ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == text


def test_a_piece_keeps_the_space_that_a_decoder_strips():
    words = ("▁a", "▁b", "c")

    def decode(ids):
        return "".join(words[number] for number in ids).replace("▁", " ").removeprefix(" ")

    assert gallery.pieces(decode, [0, 1, 2, 0]) == ["a", " b", "c", " a"]


def test_a_page_escapes_its_texts_and_links_the_index():
    found = gallery.page("a<b", "c & d", [Exhibit("e<f", ["g<h"], [])])
    for text in ("<title>a&lt;b</title>", "<h1>a&lt;b</h1>", "c &amp; d", "<h2>e&lt;f</h2>"):
        assert text in found
    assert facts(found) == ["g&lt;h"]
    assert '<a href="index.html">Gallery</a>' in found


def test_the_index_links_each_page():
    rows = [IndexRow("mini-arc", 40, 149, []), IndexRow("a%&b", 1, 2, [])]
    found = gallery.index("about", rows)
    for row in (
        '<tr><td><a href="mini-arc.html">mini-arc</a></td><td>40</td><td>149</td><td>',
        '<tr><td><a href="a%25%26b.html">a%&amp;b</a></td><td>1</td><td>2</td><td>',
    ):
        assert row in found


def test_the_index_shows_the_first_pair_of_some_tasks():
    tasks = [task(f"t{number}") for number in range(gallery.THUMBNAILS + 1)]
    pictures = gallery.thumbnails([gallery.task(one) for one in tasks])
    assert len(pictures) == 2 * gallery.THUMBNAILS
    shown = tasks[0].train[0]
    for picture, grid in zip(pictures, (shown.input, shown.output), strict=False):
        assert (picture.height, picture.width) == grid.shape
        assert picture.side == gallery.THUMBNAIL_SIDE // max(grid.shape)
        assert picture.paths == svg.picture(grid, 1).paths
    found = gallery.index("about", [IndexRow("a", 1, 2, pictures)])
    assert found.count("<svg") == len(pictures)


def test_equal_exhibits_give_equal_pages_that_fetch_nothing():
    pages = [shown(gallery.sample(ROW, TOKENS, 512)) for _ in range(2)]
    assert pages[0] == pages[1]
    assert not re.search(r"https?:|src=|@import|url\(", pages[0])
