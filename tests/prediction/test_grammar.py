import functools
import itertools

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from arcmix.prediction.grammar import Grammar, State, token_bytes
from arcmix.tasks import MAX_SIDE
from arcmix.text import prompt
from arcmix.text.encode import SYMBOLS, Encoder
from tests.text.test_encode import legal

FORMATS = ("bare", "v1", "dialog")
LIMITS = (1, 2, 11, MAX_SIDE)
SPELLING = "0123456789|x` \n<>grids:ahpeOutp#." + SYMBOLS


def style(format_: str, *names: str) -> prompt.Style:
    return prompt.Style(format_, Encoder(names), lambda _: "", "<end>", "answer")


STYLES = [style("bare", *names) for names in legal()]
STYLES += [style(format_, *legal()[0]) for format_ in FORMATS[1:]]
STYLES += [style("v1", *names) for names in legal() if "shape" in names]


@functools.cache
def grammar_of(number: int, limit: int) -> Grammar:
    """Return the grammar of a style; it is built once."""
    return Grammar(STYLES[number], limit)


numbers = st.integers(0, len(STYLES) - 1)
limits = st.sampled_from(LIMITS)


def grids(limit: int) -> st.SearchStrategy[np.ndarray]:
    shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=limit)
    return hnp.arrays(np.uint8, shapes, elements=st.integers(0, 9))


def answer(style: prompt.Style, grid: np.ndarray) -> str:
    """Return the text of a grid without the end token."""
    return prompt.render(style, [], grid, grid).answer.removesuffix(style.end)


def read(grammar: Grammar, *tokens: str) -> State | None:
    """Return the state after some tokens."""
    state: State | None = grammar.start
    for token in tokens:
        if state is not None:
            state = grammar.advance(state, token)
    return state


def cut(text: str, places: list[int]) -> list[str]:
    """Return a text cut at some places, each modulo its length."""
    ends = sorted({0, len(text), *(place % len(text) for place in places)})
    return [text[a:b] for a, b in itertools.pairwise(ends)]


def finished(grammar: Grammar, state: State, draw: st.DataObject) -> str:
    """Return a text that completes an answer, with each character drawn from those allowed."""
    text = ""
    while not (grammar.complete(state) and draw.draw(st.booleans())):
        ways = {
            character: after
            for character in SPELLING
            if (after := grammar.advance(state, character)) is not None
        }
        if not ways:
            assert grammar.complete(state)
            break
        character = draw.draw(st.sampled_from(sorted(ways)))
        text, state = text + character, ways[character]
    return text


@given(data=st.data(), number=numbers, limit=limits, places=st.lists(st.integers(0, 2000)))
def test_an_answer_is_accepted_in_any_split_into_tokens(
    data: st.DataObject, number: int, limit: int, places: list[int]
) -> None:
    grammar, text = grammar_of(number, limit), answer(STYLES[number], data.draw(grids(limit)))

    state = read(grammar, *cut(text, places))

    assert state is not None
    assert grammar.complete(state)
    assert state == read(grammar, *text)


@given(data=st.data(), number=numbers, limit=limits)
def test_only_a_whole_grid_is_complete(data: st.DataObject, number: int, limit: int) -> None:
    grammar, text = grammar_of(number, limit), answer(STYLES[number], data.draw(grids(limit)))
    place = data.draw(st.integers(0, len(text)))

    state = read(grammar, text[:place])

    assert state is not None
    found = prompt.parse_answer(STYLES[number], f"{text[:place]}<end>")
    assert grammar.complete(state) == (found is not None)


@given(data=st.data(), number=numbers, limit=st.sampled_from((1, 2, 3)))
def test_every_accepted_text_can_become_a_grid(
    data: st.DataObject, number: int, limit: int
) -> None:
    grammar = grammar_of(number, limit)

    text = finished(grammar, grammar.start, data)

    grid = prompt.parse_answer(STYLES[number], f"{text}<end>")
    assert grid is not None
    assert max(grid.shape) <= limit
    assert answer(STYLES[number], grid) == text


@given(data=st.data(), number=numbers, token=st.text(SPELLING, min_size=1, max_size=2))
def test_a_token_is_accepted_only_if_the_text_can_still_become_a_grid(
    data: st.DataObject, number: int, token: str
) -> None:
    grammar, text = grammar_of(number, 3), answer(STYLES[number], data.draw(grids(3)))
    begun = text[: data.draw(st.integers(0, len(text)))]

    state = read(grammar, begun, token)

    if state is not None:
        text = begun + token + finished(grammar, state, data)
        assert prompt.parse_answer(STYLES[number], f"{text}<end>") is not None


@pytest.mark.parametrize(
    ("names", "begun", "token"),
    [
        pytest.param("minimal", "", "\n", id="empty-row"),
        pytest.param("minimal", "012", "a", id="letter"),
        pytest.param("minimal", "012", "<end>", id="spelled-end"),
        pytest.param("minimal", "012", "٣", id="digit-of-another-script"),
        pytest.param("minimal", "012\n78", "\n", id="short-row"),
        pytest.param("minimal", "012\n789", "0", id="long-row"),
        pytest.param("minimal", "012\n7", "89\n12\n", id="short-row-inside-a-token"),
        pytest.param("minimal", "012\n", "\n", id="blank-line"),
        pytest.param("minimal", "0" * 30, "0", id="31-cells"),
        pytest.param("minimal", "0\n" * 29 + "0", "\n", id="31-rows"),
        pytest.param("separator", "0", "1", id="no-separator"),
        pytest.param("separator", "0|1\n2", "\n", id="short-row-of-separated-cells"),
        pytest.param("repeat", "00", "1", id="unequal-repeats"),
        pytest.param("repeat", "00", "\n", id="two-repeats"),
        pytest.param("tokens", "<0><1", "<", id="open-token"),
        pytest.param("minimal row_number", "", "2", id="first-row-is-not-2"),
        pytest.param("minimal row_number", "1 012\n", "3", id="row-number-left-out"),
        pytest.param("minimal row_number", "1 012\n2", "0", id="row-20-after-row-1"),
        pytest.param("minimal symbols", "ñò", "2", id="digit-amid-symbols"),
        pytest.param("minimal row_number symbols", "", "1", id="row-number-not-in-symbols"),
        pytest.param("minimal code_block", "```grid\n", "```", id="fence-around-nothing"),
        pytest.param("minimal code_block", "```grid\n012\n7", "\n```", id="fence-after-half-a-row"),
        pytest.param("minimal code_block", "```grid\n012\n```", "\n", id="text-after-the-fence"),
        pytest.param("minimal shape", "```grid", "\n", id="no-shape"),
        pytest.param("minimal shape", "```grid shape: ", "0", id="no-rows"),
        pytest.param("minimal shape", "```grid shape: 3", "1x", id="shape-of-31-rows"),
        pytest.param("minimal shape", "```grid shape: 3x3", "1", id="shape-of-31-columns"),
        pytest.param("minimal shape", "```grid shape: 2x3\n01", "\n", id="too-short-for-the-shape"),
        pytest.param("minimal shape", "```grid shape: 2x3\n012", "3", id="too-long-for-the-shape"),
        pytest.param("minimal shape", "```grid shape: 2x3\n012", "\n```", id="rows-missing"),
        pytest.param("minimal shape", "```grid shape: 1x3\n012\n", "0", id="rows-left-over"),
    ],
)
def test_a_token_that_continues_no_answer_is_refused(names: str, begun: str, token: str) -> None:
    grammar = Grammar(style("bare", *names.split()), MAX_SIDE)

    state = read(grammar, begun)

    assert state is not None
    assert not grammar.advance(state, token)


def test_a_digit_3_in_the_header_may_continue_to_30() -> None:
    grammar = Grammar(style("bare", "minimal", "shape"), MAX_SIDE)
    height = read(grammar, "```grid shape: 3")

    assert height is not None
    assert grammar.advance(height, "x3")
    assert grammar.advance(height, "0x3")
    assert grammar.advance(height, "0x30\n0")


@pytest.mark.parametrize("format_", ["v1", "dialog"])
def test_an_answer_begins_with_the_opening_of_its_format(format_: str) -> None:
    asked = style(format_, "minimal")
    grammar = Grammar(asked, MAX_SIDE)

    assert not grammar.advance(grammar.start, "0")
    assert grammar.advance(grammar.start, asked.opening + "0")


@given(data=st.data(), number=numbers)
def test_an_answer_is_accepted_byte_by_byte(data: st.DataObject, number: int) -> None:
    grammar, text = grammar_of(number, 3), answer(STYLES[number], data.draw(grids(3)))
    level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    [(spelled, _)] = level.pre_tokenize_str(text)

    letters = read(grammar, *map(token_bytes, spelled))
    numbers = read(grammar, *(token_bytes(f"<0x{byte:02X}>") for byte in text.encode()))

    assert letters == numbers == read(grammar, text)


def test_half_a_character_is_accepted_only_before_its_other_half() -> None:
    first, second = map(token_bytes, ["<0xC3>", "<0xB1>"])
    grammar = Grammar(style("bare", "minimal", "symbols"), MAX_SIDE)
    half = grammar.advance(grammar.start, first)

    assert half is not None
    assert not grammar.complete(half)
    assert grammar.advance(half, second) == grammar.advance(grammar.start, "ñ")
    assert not grammar.advance(half, first)
    assert not grammar.advance(grammar.start, second)


def test_every_byte_has_its_own_letter() -> None:
    level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)

    found = {token_bytes(letter) for letter in level.alphabet()}

    assert found == {bytes([byte]).decode(errors="surrogateescape") for byte in range(256)}


def test_a_token_with_unknown_bytes_is_refused() -> None:
    message = "token '▁a' is a part of a character, and its bytes are unknown; a token is spelled"
    with pytest.raises(ValueError, match=message):
        token_bytes("▁a")


def test_the_limit_applies_to_height_and_width() -> None:
    grammar = Grammar(style("bare", "minimal"), 4)

    assert read(grammar, "0123\n" * 3, "0123")
    assert not read(grammar, "01234")
    assert not read(grammar, "0\n" * 4)
