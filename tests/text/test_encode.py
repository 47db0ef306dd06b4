import itertools
import re
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from arcmix.config import scales
from arcmix.tasks import MAX_SIDE
from arcmix.text.encode import LAYERS, SYMBOLS, Encoder

GRID = np.array([[0, 1, 2], [7, 8, 9]], np.uint8)


def legal() -> list[tuple[str, ...]]:
    """Return all valid compositions, independently of the code under test."""
    found = []
    for cells, number, fence in itertools.product(
        ["minimal", "separator", "repeat"], [[], ["row_number"]], [[], ["code_block"], ["shape"]]
    ):
        names = [cells, *number, *fence]
        found.append(tuple(names))
        found += [(*names[:place], "symbols", *names[place:]) for place in range(1, len(names) + 1)]
        if cells == "minimal":
            found.append(("tokens", *names[1:]))
    return found


def test_the_encoders_of_params_are_the_layers() -> None:
    assert get_args(scales.Encoder) == (*LAYERS,)


grids = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=MAX_SIDE),
    elements=st.integers(0, 9),
)
encoders = st.sampled_from([Encoder(names) for names in legal()])


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ("minimal", "012\n789"),
        ("separator", "0|1|2\n7|8|9"),
        ("repeat", "000111222\n777888999"),
        ("tokens shape", "```grid shape: 2x3\n<0><1><2>\n<7><8><9>\n```"),
        ("minimal row_number", "1 012\n2 789"),
        ("minimal symbols", "ñò÷\nęĚĞ"),
        ("minimal symbols row_number", "1 ñò÷\n2 ęĚĞ"),
        ("minimal row_number symbols", "ò ñò÷\n÷ ęĚĞ"),
        ("minimal code_block", "```grid\n012\n789\n```"),
        ("minimal shape", "```grid shape: 2x3\n012\n789\n```"),
        ("minimal row_number shape", "```grid shape: 2x3\n1 012\n2 789\n```"),
        ("minimal shape symbols", "```grid shape: ÷xû\nñò÷\nęĚĞ\n```"),
    ],
)
def test_the_text_of_a_composition(names: str, text: str) -> None:
    assert Encoder(tuple(names.split())).encode(GRID) == text


def test_rows_from_the_tenth_on_have_numbers_of_two_digits() -> None:
    encoder = Encoder(("minimal", "row_number"))
    grid = np.zeros((11, 1), np.uint8)
    assert encoder.encode(grid).splitlines()[8:] == ["9 0", "10 0", "11 0"]
    np.testing.assert_array_equal(encoder.decode(encoder.encode(grid)), grid)


@pytest.mark.parametrize("names", legal(), ids=" ".join)
def test_every_composition_can_be_decoded(names: tuple[str, ...]) -> None:
    np.testing.assert_array_equal(Encoder(names).decode(Encoder(names).encode(GRID)), GRID)


@given(encoder=encoders, grid=grids)
def test_decode_is_the_inverse_of_encode(encoder: Encoder, grid: np.ndarray) -> None:
    found = encoder.decode(encoder.encode(grid))
    assert found is not None
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, grid)


@given(encoder=encoders, text=st.text() | st.text("0123|x` \n" + SYMBOLS))
def test_a_text_decodes_to_none_or_to_the_grid_that_encodes_to_it(
    encoder: Encoder, text: str
) -> None:
    grid = encoder.decode(text)
    assert grid is None or encoder.encode(grid) == text


@given(
    encoder=encoders,
    grid=grids,
    place=st.integers(0, 10_000),
    character=st.sampled_from("039|x`gs \n\r٣" + SYMBOLS),
)
def test_an_edited_text_never_decodes_to_the_same_grid(
    encoder: Encoder, grid: np.ndarray, place: int, character: str
) -> None:
    text = encoder.encode(grid)
    place %= len(text) + 1
    for spoilt in (
        text[:place] + character + text[place:],
        text[:place] + character + text[place + 1 :],
        text[:place] + text[place + 1 :],
    ):
        found = encoder.decode(spoilt)
        assert spoilt == text or found is None or not np.array_equal(found, grid)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        pytest.param("minimal", "", id="empty"),
        pytest.param("minimal", "\n", id="empty-rows"),
        pytest.param("minimal", "012\n78", id="ragged"),
        pytest.param("minimal", "012\n789\n", id="blank-line"),
        pytest.param("minimal", "012\r\n789", id="carriage-return"),
        pytest.param("minimal", "01a", id="letter"),
        pytest.param("minimal", "٣٣", id="digits-of-another-script"),
        pytest.param("separator", "0|1|", id="open-end"),
        pytest.param("separator", "0|1-2", id="other-separator"),
        pytest.param("repeat", "000112", id="unequal-repeats"),
        pytest.param("minimal row_number", "1 012\n3 789", id="wrong-row-number"),
        pytest.param("minimal row_number", "012\n789", id="no-row-number"),
        pytest.param("minimal symbols", "ñò2", id="digit-amid-symbols"),
        pytest.param("minimal code_block", "```grid\n```", id="fence-around-nothing"),
        pytest.param("minimal code_block", "```", id="half-a-fence"),
        pytest.param("minimal code_block", "```grid\n012\n789", id="open-fence"),
        pytest.param("minimal code_block", "```grid\n012\n```\nDone.", id="afterthought"),
        pytest.param("minimal shape", "```grid shape: 3x2\n012\n789\n```", id="wrong-shape"),
        pytest.param("minimal shape", "```grid\n012\n```", id="no-shape"),
    ],
)
def test_a_malformed_text_decodes_to_none(names: str, text: str) -> None:
    assert Encoder(tuple(names.split())).decode(text) is None


def test_an_unknown_encoder_is_rejected_with_the_known_names() -> None:
    message = f"unknown encoders ['GridShape']; the encoders are {list(LAYERS)}"
    with pytest.raises(ValueError, match=re.escape(message)):
        Encoder(("minimal", "GridShape"))


def test_exactly_the_valid_compositions_are_accepted() -> None:
    accepted = set()
    for length in range(5):
        for names in itertools.product(LAYERS, repeat=length):
            try:
                accepted.add(Encoder(names).names)
            except ValueError as error:
                assert "the order is minimal or separator" in str(error)  # noqa: PT017
    assert accepted == set(legal())


def test_names_in_the_wrong_order_are_rejected_with_the_order() -> None:
    message = re.escape(
        "encoders ['shape', 'minimal'] cannot be composed; the order is minimal or separator or"
        " repeat or tokens, then optionally row_number, then optionally code_block or shape;"
        " symbols may occur once anywhere after the first, but not with tokens"
    )
    with pytest.raises(ValueError, match=message):
        Encoder(("shape", "minimal"))
