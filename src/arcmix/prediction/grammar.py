"""Which texts begin an answer: what a model may write next so that a grid comes of it.

An answer is pieces, one after the other: what stands above the grid with the first cell of
its first row, one more cell of the row, the end of the row with the first cell of the next,
what stands below the last row. The pieces are cut out of what the encoder writes for plain
grids, so no composition is described a second time here. A state is how many cells are
written and what has come of the next piece, so no text is read a second time.
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
"""Bytes that stand for themselves in the vocabulary of byte-level BPE."""

LETTERS = {chr(byte): byte for byte in VISIBLE} | {
    chr(256 + place): byte for place, byte in enumerate(sorted({*range(256)} - {*VISIBLE}))
}
"""The letters of that vocabulary -> the bytes that they are (GPT-2)."""


class State(NamedTuple):
    """How far an answer is."""

    height: int
    """Rows of the grid; 0 while nothing has told it."""
    width: int
    """Cells of a row; 0 while nothing has told it."""
    row: int
    """Number of the row that is being written, from 1; 0 before its first cell."""
    column: int
    """Cells of that row; 0 again after what stands below the grid."""
    written: str
    """What has come of the next piece, a character a byte."""


class Grammar:
    """The answers of a style, up to their end token.

    A text begins an answer if and only if `advance` takes it from `start`, in tokens of
    whatever length. A token that is less than a character is spelled as by `part`.

    Args:
        style: How the model is shown a task.
        max_side: Largest height and width of a grid.
    """

    def __init__(self, style: Style, max_side: int) -> None:
        self.start = State(0, 0, 0, 0, "")
        self._max_side = max_side
        shape = (max_side, 1)
        plain = [_parts(style.encoder, shape, color) for color in range(COLORS)]
        pairs = [_parts(style.encoder, (1, 2), color).rows[0] for color in range(COLORS)]
        firsts = [parts.rows[0] for parts in plain]
        self._cells = sorted(
            pair.removeprefix(first) for pair, first in zip(pairs, firsts, strict=True)
        )
        rows = zip(*(parts.rows for parts in plain), strict=True)
        self._rows = [sorted(f"\n{row}" for row in alike) for alike in rows]
        self._below = [parts.below for parts in plain[:1] if parts.below]
        self._openings = {
            f"{_bytes(style.opening)}{above}{first}": State(*told, 1, 1, "")
            for above, told in _heads(style.encoder, max_side).items()
            for first in firsts
        }
        self._starts = sorted(self._openings)
        pieces = [*self._starts, *self._cells, *itertools.chain(*self._rows), *self._below]
        self._letters = frozenset("".join(pieces))

    def advance(self, state: State, text: str) -> State | None:
        """Return the state after one more token.

        Args:
            state: The state before it.
            text: The token's text, of any length; that of no characters changes nothing.

        Returns:
            None if no answer begins with the text so far and this.
        """
        written, state = state.written + _bytes(text), state._replace(written="")
        while written:
            found = self._piece(state, written)
            if found is None:
                return None
            piece, after = found
            if not piece:
                return state._replace(written=written)
            state, written = after, written[len(piece) :]
        return state

    def spells(self, text: str) -> bool:
        """Return whether answers have all characters of a text, so that it may be in one."""
        return self._letters.issuperset(_bytes(text))

    def complete(self, state: State) -> bool:
        """Return whether the end token may come, the text so far being that of a grid."""
        if state.written or not state.row:
            return False
        return not state.column or (not self._below and self._last(state))

    def _piece(self, state: State, written: str) -> tuple[str, State] | None:
        """Return the piece that a text begins with, and the state after it.

        The piece is "" if the text is but the beginning of one; None if it is not even that.
        """
        for pieces, after in self._next(state):
            piece = _match(pieces, written)
            if piece is not None:
                return piece, after or self._openings.get(piece, state)
        return None

    def _next(self, state: State) -> Iterator[tuple[Sequence[str], State | None]]:
        """Yield pieces that may come next, rising, and the state after any of them.

        What opens an answer has None there, as each piece has a state of its own.
        """
        height, width, row, column, _ = state
        if not row:
            yield self._starts, None
        if 0 < column < (width or self._max_side):
            yield self._cells, State(height, width, row, column + 1, "")
        if 0 < column == (width or column) and row < (height or self._max_side):
            yield self._rows[row], State(height, column, row + 1, 1, "")
        if self._last(state):
            yield self._below, State(height, width, row, 0, "")

    def _last(self, state: State) -> bool:
        """Return whether the row that is being written is whole and may be the last."""
        height, width, row, column, _ = state
        return 0 < column == (width or column) and row == (height or row)


def part(token: str) -> str:
    """Return the text of a token that is less than a character, as the grammar reads it.

    Args:
        token: The token as the vocabulary spells it: in the letters of byte-level BPE, or as
            <0xC3>.

    Returns:
        Its bytes, those of no character spelled as Python spells them (PEP 383).

    Raises:
        ValueError: If the token is spelled in neither way.
    """
    if found := re.fullmatch("<0x([0-9A-F]{2})>", token):
        return bytes.fromhex(found[1]).decode(errors="surrogateescape")
    if not {*token} <= LETTERS.keys():
        raise ValueError(
            f"token {token!r} decodes to less than a character and is spelled neither in the"
            " letters of byte-level BPE nor as <0xC3>; predict without the grammar"
        )
    return bytes(LETTERS[letter] for letter in token).decode(errors="surrogateescape")


class _Parts(NamedTuple):
    """The text of a grid, cut into its rows and what is around them."""

    above: str
    rows: list[str]
    below: str


def _parts(encoder: Encoder, shape: tuple[int, int], color: int) -> _Parts:
    """Return the text of a grid of one color in parts.

    A fence has as many lines above the grid as below it.
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
    """Return the bytes of a text, each as a character."""
    return text.encode(errors="surrogateescape").decode("latin-1")


def _heads(encoder: Encoder, max_side: int) -> dict[str, tuple[int, int]]:
    """Return what may stand above a grid -> the shape that it tells, (0, 0) if it tells none."""
    sides = range(1, max_side + 1)
    heads = {
        _parts(encoder, (height, width), 0).above: (height, width)
        for height in sides
        for width in sides
    }
    return heads if len(heads) > 1 else dict.fromkeys(heads, (0, 0))


def _match(pieces: Sequence[str], written: str) -> str | None:
    """Return the piece that a text begins with, "" if it is the beginning of one, or None.

    No piece begins another, so of the pieces in their order only the neighbors can match.
    """
    place = bisect_right(pieces, written)
    if place and written.startswith(pieces[place - 1]):
        return pieces[place - 1]
    return "" if place < len(pieces) and pieces[place].startswith(written) else None
