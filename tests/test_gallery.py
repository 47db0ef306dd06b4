import html
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcmix import gallery
from arcmix.gallery import Token
from tests.arc import task
from tests.test_drawing import cells

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


def facts(section):
    """Return the lines under the title of a section."""
    return re.findall("<li>(.*?)</li>", section)


def test_a_task_shows_all_its_pairs_and_its_facts():
    found = gallery.task(task("00d62c1b", train=3, test=2))
    assert re.findall("<h2>(.*)</h2>", found) == ["00d62c1b"]
    assert facts(found) == ["training", "3 demonstrations", "2 tests", "45 cells"]
    titles = ["demonstration 1", "demonstration 2", "demonstration 3", "test 1", "test 2"]
    assert re.findall("<h3>(.*?)</h3>", found) == titles
    assert found.count("<svg") == 10


def test_a_drawn_task_shows_its_difficulty():
    found = gallery.task(replace(task(), variation=3, rng=0.25, pso=0.5))
    assert facts(found)[-2:] == ["variation 3", "difficulty: RNG 0.25, PSO 0.50"]


@pytest.mark.parametrize(
    ("widths", "side"),
    [
        pytest.param([2, 3], 20, id="small"),
        pytest.param([3, 24], 10, id="of-one-scale"),
        pytest.param([3, 93], 4, id="long"),
    ],
)
def test_the_longest_side_gives_the_scale_of_all_grids(widths, side):
    row = ROW | {"heights": [1] * 4, "widths": widths * 2, "cells": [0] * sum(widths) * 2}
    sizes = re.findall(r'width="(\d+)"', gallery.sample(row, TOKENS, 512))
    assert sizes[1:] == [str(side * width) for width in widths * 2]


def test_a_sample_shows_its_grids_its_color_map_and_what_else_its_row_has():
    found = gallery.sample(ROW | {"change": "pad <2>", "none": None, "empty": []}, TOKENS, 512)
    assert facts(found) == [
        "entry 713",
        "symmetry 6",
        "change pad &lt;2&gt;",
        "2 tokens",
        "1 of them with loss",
    ]
    strip, *drawn = re.findall("<svg.*?</svg>", found)
    assert cells(strip).tolist() == [[*range(10)], ROW["colors"]]
    assert [cells(one).tolist() for one in drawn] == [
        [[1, 1, 1]],
        [[2], [3]],
        [[4, 4, 4]],
        [[5], [6]],
    ]
    assert re.findall("<h3>(.*?)</h3>", found) == ["demonstration 1", "test 1"]


def test_a_sample_without_demonstrations_is_a_grid():
    row = ROW | {"heights": [2, 2], "widths": [3, 3], "cells": [0, 1, 2, 3, 4, 5] * 2}
    found = gallery.sample(row, TOKENS, 512)
    assert found.count("<svg") == 2
    assert re.findall("<h3>(.*?)</h3>", found) == ["grid 1"]
    assert cells(re.findall("<svg.*?</svg>", found)[1]).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(("longest", "fact"), [(2, "2 tokens"), (1, "2 tokens, more than the 1")])
def test_a_sample_tells_whether_it_is_too_long(longest, fact):
    found = facts(gallery.sample(ROW, TOKENS, longest))
    assert found[2].removesuffix(" that training takes") == fact


def test_a_text_has_an_element_for_each_token_and_marks_each_turn_that_carries_loss():
    tokens = [
        Token("1<2", special=False, trained=False),
        Token("\n", special=False, trained=False),
        Token("yes", special=False, trained=True),
        Token("<end>", special=True, trained=True),
        Token("&", special=False, trained=False),
        Token("no", special=False, trained=True),
    ]
    assert gallery.text(tokens) == (
        '<pre><i>1&lt;2</i><i class="end">\n</i>'
        '<mark><i>yes</i><i class="special">&lt;end&gt;</i></mark>'
        "<i>&amp;</i><mark><i>no</i></mark></pre>"
    )


@given(st.text())
def test_the_pieces_of_bytes_are_the_text(text):
    ids = text.encode()
    pieces = gallery.pieces(lambda part: bytes(part).decode(errors="replace"), ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == text


def test_a_piece_keeps_the_space_that_a_decoder_strips():
    words = ("▁a", "▁b", "c")

    def decode(ids):
        return "".join(words[number] for number in ids).replace("▁", " ").removeprefix(" ")

    assert gallery.pieces(decode, [0, 1, 2, 0]) == ["a", " b", "c", " a"]


def test_a_page_is_whole_and_escapes_its_texts():
    found = gallery.page("a<b", "c & d", ["<section>one</section>"])
    assert found.startswith("<!DOCTYPE html>\n")
    assert "<title>a&lt;b</title>" in found
    assert "<p>c &amp; d</p>\n<section>one</section>\n</body>" in found
    assert html.unescape(found).count("a<b") == 2


def test_the_index_links_each_page():
    found = gallery.index([("mini-arc", 40, 149)])
    row = '<tr><td><a href="mini-arc.html">mini-arc</a></td><td>40</td><td>149</td></tr>'
    assert row in found
