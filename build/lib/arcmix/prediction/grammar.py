"""A grammar of answers: the tokens after which the text can still become a grid.

An answer is a sequence of pieces. A piece is one of these: the header with the first cell of the
grid, a further cell of a row, a line break with the first cell of the next row, or the footer. The
pieces are cut out of the encoder's text of one-color grids, so the grammar supports every encoder
without a description of its own. A state holds the position in the grid and the characters of the
next piece, so no text is parsed twice.
"""

import itertools
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from arcmix.tasks import COLORS
from arcmix.text.encode import Encoder
from arcmix.text.prompt import Style

VISIBLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
"""Bytes that the vocabulary of byte-level BPE spells as the character of the same code."""

LETTERS = {chr(byte): byte for byte in VISIBLE} | {
    chr(256 + place): byte for place, byte in enumerate(sorted({*range(256)} - {*VISIBLE}))
}
"""Character of the vocabulary of byte-level BPE -> the byte that it spells (GPT-2)."""


class State(NamedTuple):
    """The position in an answer."""

    height: int
    """Number of rows of the grid; 0 while it is unknown."""
    width: int
    """Number of cells of a row; 0 while it is unknown."""
    row: int
    """Number of the current row, from 1; 0 before the first cell of the grid."""
    column: int
    """Number of cells in the current row; 0 after the footer."""
    pending: str
    """The text after the last complete piece, with a character for each byte."""


class Grammar:
    """The answers of a style, without their end token.

    A text is the beginning of an answer if and only if `advance` accepts it from `start`. The split
    into tokens does not matter. A token that is a part of a character is given by `token_bytes`.

    Args:
        style: The text format.
        max_side: Largest height and width of a grid.
    """

    def __init__(self, style: Style, max_side: int) -> None:
        self.start = State(0, 0, 0, 0, "")
        self._max_side = max_side
        shape = (max_side, 1)
        columns = [_parts(style.encoder, shape, color) for color in range(COLORS)]
        pairs = [_parts(style.encoder, (1, 2), color).rows[0] for color in range(COLORS)]
        firsts = [parts.rows[0] for parts in columns]
        self._cells = sorted(
            pair.removeprefix(first) for pair, first in zip(pairs, firsts, strict=True)
        )
        rows = zip(*(parts.rows for parts in columns), strict=True)
        self._rows = [sorted(f"\n{row}" for row in colored) for colored in rows]
        self._footers = [parts.footer for parts in columns[:1] if parts.footer]
        self._after_first = {
            f"{_bytes(style.opening)}{header}{first}": State(*size, 1, 1, "")
            for header, size in _headers(style.encoder, max_side).items()
            for first in firsts
        }
        self._firsts = sorted(self._after_first)
        pieces = [*self._firsts, *self._cells, *itertools.chain(*self._rows), *self._footers]
        self._characters = frozenset("".join(pieces))

    def advance(self, state: State, text: str) -> State | None:
        """Return the state after one more token.

        Args:
            state: The state before the token.
            text: The token's text; an empty text does not change the state.

        Returns:
            The new state; None if no answer begins with the text up to this token.
        """
        rest, state = state.pending + _bytes(text), state._replace(pending="")
        while rest:
            found = self._piece(state, rest)
            if found is None:
                return None
            piece, after = found
            if not piece:
                return state._replace(pending=rest)
            state, rest = after, rest[len(piece) :]
        return state

    def may_contain(self, text: str) -> bool:
        """Return whether answers contain all characters of a text, in any order."""
        return self._characters.issuperset(_bytes(text))

    def complete(self, state: State) -> bool:
        """Return whether the text is that of a whole grid, so that the end token is allowed."""
        if state.pending or not state.row:
            return False
        return not state.column or (not self._footers and self._last(state))

    def _piece(self, state: State, text: str) -> tuple[str, State] | None:
        """Return the piece at the beginning of a text, and the state after the piece.

        The piece is "" if the text is an incomplete piece. The result is None if no piece matches.
        """
        for pieces, after in self._next(state):
            piece = _match(pieces, text)
            if piece is not None:
                return piece, after or self._after_first.get(piece, state)
        return None

    def _next(self, state: State) -> Iterator[tuple[Sequence[str], State | None]]:
        """Yield the pieces that are allowed next, sorted, and the state after any of them.

        The state is None for first pieces, since it depends on the piece (`_after_first`).
        """
        height, width, row, column, _ = state
        if not row:
            yield self._firsts, None
        if 0 < column < (width or self._max_side):
            yield self._cells, State(height, width, row, column + 1, "")
        if 0 < column == (width or column) and row < (height or self._max_side):
            yield self._rows[row], State(height, column, row + 1, 1, "")
        if self._last(state):
            yield self._footers, State(height, width, row, 0, "")

    def _last(self, state: State) -> bool:
        """Return whether the current row is complete and may be the last one."""
        height, width, row, column, _ = state
        return 0 < column == (width or column) and row == (height or row)


def token_bytes(token: str) -> str:
    """Return the bytes of a token that is a part of a character, as a text for `Grammar.advance`.

    Args:
        token: The token in its vocabulary: in the letters of byte-level BPE, or as <0xC3>.

    Returns:
        The bytes, decoded with the error handler `surrogateescape` (PEP 383).

    Raises:
        ValueError: If the token has neither form.
    """
    if found := re.fullmatch("<0x([0-9A-F]{2})>", token):
        return bytes.fromhex(found[1]).decode(errors="surrogateescape")
    if not {*token} <= LETTERS.keys():
        raise ValueError(
            f"token {token!r} is a part of a character, and its bytes are unknown; a token is"
            " spelled in the letters of byte-level BPE or as <0xC3>, so set predict.grammar to"
            " false"
        )
    return bytes(LETTERS[letter] for letter in token).decode(errors="surrogateescape")


class _Parts(NamedTuple):
    """The text of a grid, cut into header, rows and footer."""

    header: str
    rows: list[str]
    footer: str


def _parts(encoder: Encoder, shape: tuple[int, int], color: int) -> _Parts:
    """Return the parts of the text of a one-color grid.

    Args:
        encoder: The grid encoder; its headers and footers have the same number of lines.
        shape: Height and width of the grid.
        color: Its color.
    """
    height, _ = shape
    lines = _bytes(encoder.encode(np.full(shape, color, np.uint8))).split("\n")
    fence = (len(lines) - height) // 2
    return _Parts(
        "".join(f"{line}\n" for line in lines[:fence]),
        lines[fence : fence + height],
        "".join(f"\n{line}" for line in lines[fence + height :]),
    )


def _bytes(text: str) -> str:
    """Return a text with a character for each byte of the UTF-8 encoding of `text`."""
    return text.encode(errors="surrogateescape").decode("latin-1")


def _headers(encoder: Encoder, max_side: int) -> dict[str, tuple[int, int]]:
    """Return each header -> the height and width that it states, (0, 0) if it states none."""
    sides = range(1, max_side + 1)
    headers = {
        _parts(encoder, (height, width), 0).header: (height, width)
        for height in sides
        for width in sides
    }
    return headers if len(headers) > 1 else dict.fromkeys(headers, (0, 0))


def _match(pieces: Sequence[str], text: str) -> str | None:
    """Return the piece at the beginning of a text, "" if the text is an incomplete piece, or None.

    No piece is a prefix of another, so only the neighbors in sorted order can match.
    """
    place = bisect_right(pieces, text)
    if place and text.startswith(pieces[place - 1]):
        return pieces[place - 1]
    return "" if place < len(pieces) and pieces[place].startswith(text) else None
