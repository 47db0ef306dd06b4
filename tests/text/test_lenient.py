import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcmix.text import lenient
from arcmix.text.encode import LAYERS, Encoder
from tests.text.test_encode import encoders, grids

GRID = np.array([[0, 1, 2], [7, 8, 9]], np.uint8)


def test_each_layer_of_the_encoders_has_a_lenient_reader() -> None:
    assert {*lenient.CELLS, *lenient.LAYERS} == {*LAYERS}


@given(encoders, grids)
def test_the_text_of_a_grid_is_read_as_the_grid(encoder: Encoder, grid: np.ndarray) -> None:
    found = lenient.decode(encoder.names, encoder.encode(grid))
    assert found is not None
    np.testing.assert_array_equal(found, grid)


@given(encoders, st.text() | st.text("01\n|` ñò") | st.text("`grid shape:0x1\n "))
def test_any_text_is_a_grid_or_none(encoder: Encoder, text: str) -> None:
    found = lenient.decode(encoder.names, text)
    strict = encoder.decode(text)
    assert strict is None or (found is not None and np.array_equal(found, strict))
    assert found is None or (found.ndim == 2 and found.size and found.max() <= 9)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        pytest.param("minimal", "\n012\n789\n\n", id="blank-lines-around"),
        pytest.param("separator", "0| 1|2\n7|8 |09", id="blanks-and-zeros-around-a-number"),
        pytest.param("repeat", "011122\n788899", id="digits-repeated-too-seldom"),
        pytest.param("minimal row_number", "7 012\n0 789", id="wrong-row-numbers"),
        pytest.param("minimal symbols", "0òñ\n7ĚĞ", id="digits-among-symbols"),
        pytest.param("minimal code_block", "```grid\n012\n789", id="no-closing-fence"),
        pytest.param("minimal code_block", "```grid\n012\n789\n```\nDone.", id="text-after-it"),
        pytest.param("minimal code_block", "So:\n```grid\n012\n789\n```", id="text-before-it"),
        pytest.param("minimal shape", "```grid shape: 3x3\n012\n789\n```", id="wrong-shape"),
        pytest.param("minimal shape", "```grid shape: \n012\n789\n```\n012", id="no-shape"),
        pytest.param("minimal row_number shape", "```grid shape: 2x3\n1 012\n1 789", id="both"),
    ],
)
def test_what_arc24_reads_is_a_grid_here_and_none_in_strict_decoding(names: str, text: str) -> None:
    encoder = Encoder(tuple(names.split()))
    assert encoder.decode(text) is None
    found = lenient.decode(encoder.names, text)
    assert found is not None
    expected = GRID
    if "symbols" in names:
        expected = np.array([[0, 1, 0], [7, 8, 9]], np.uint8)
    if names == "repeat":
        expected = np.array([[0, 1], [7, 8]], np.uint8)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        pytest.param("minimal", "", id="empty"),
        pytest.param("minimal", "012\n78", id="ragged"),
        pytest.param("minimal", "012\n\n789", id="blank-line-inside"),
        pytest.param("minimal", "012\n7x9", id="letter"),
        pytest.param("separator", "0|12", id="number-above-9"),
        pytest.param("separator", "0|-1", id="negative"),
        pytest.param("minimal row_number", "1 012\n789", id="row-without-a-number"),
        pytest.param("minimal code_block", "012\n789\n```", id="no-opening-fence"),
        pytest.param("minimal code_block", "```grid shape: 2x3\n012\n789\n```", id="other-fence"),
        pytest.param("minimal shape", "```grid\n012\n789\n```", id="no-shape"),
    ],
)
def test_what_arc24_refuses_is_no_grid(names: str, text: str) -> None:
    assert lenient.decode(names.split(), text) is None


def test_a_grid_may_be_cut_after_any_row() -> None:
    encoder = Encoder(("minimal", "row_number", "shape"))
    lines = encoder.encode(np.arange(10, dtype=np.uint8).reshape(5, 2)).split("\n")
    for count in range(1, 6):
        found = lenient.decode(encoder.names, "\n".join(itertools.islice(lines, count + 1)))
        assert found is not None
        assert found.shape == (count, 2)
