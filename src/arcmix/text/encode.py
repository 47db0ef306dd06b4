"""Grids as text and back, by encoders composed from a list of names (after arc24).

A composition reads from the inside out, e.g. `minimal, row_number, shape`. The first name
writes a row of cells as a line: `minimal` 012, `separator` 0|1|2, `repeat` 000111222,
`tokens` <0><1><2>, which the tokenizer is given tokens for.
Then `row_number` opens each line with its number, `code_block` or `shape` fences the lines
in, and `symbols` writes a letter for every digit of what stands inside it: row numbers
and shape too, if it comes after them.

Decoding is strict: a text is a grid's only if it is what `encode` writes for that grid.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

DIGITS = "0123456789"
SYMBOLS = "ñò÷ûąćďęĚĞ"
"""Stand-ins for the digits: one token each for arc24's models, and rare in other text."""

SWAP = str.maketrans(DIGITS + SYMBOLS, SYMBOLS + DIGITS)
"""Its own inverse, so that a digit amid symbols is not read as a color."""

REPEATS = 3
"""Llama 3 has a token for every number of three digits, so 777 costs no more than 7."""

TOKENS = {f"<{digit}>": digit for digit in DIGITS}
"""Tokens added to the tokenizer for the colors -> the tokens that they begin as."""

CELLS, NUMBERS, FENCE = range(3)
"""Places in a composition, in this order. Cells are a must."""


class Layer(NamedTuple):
    """One step of an encoding, on the lines of a text.

    `write` is given the lines and the grid's (height, width). `read` undoes it; of lines
    that `write` would not give it may make anything. `place` is None for a layer that may
    stand once anywhere after the cells.
    """

    place: int | None
    write: Callable[[list[str], tuple[int, ...]], list[str]]
    read: Callable[[list[str]], list[str]]


LAYERS = {
    "minimal": Layer(
        CELLS,
        lambda lines, _: lines,
        lambda lines: lines,
    ),
    "separator": Layer(
        CELLS,
        lambda lines, _: ["|".join(line) for line in lines],
        lambda lines: [line[::2] for line in lines],
    ),
    "repeat": Layer(
        CELLS,
        lambda lines, _: ["".join(cell * REPEATS for cell in line) for line in lines],
        lambda lines: [line[::REPEATS] for line in lines],
    ),
    "tokens": Layer(
        CELLS,
        lambda lines, _: ["".join(f"<{cell}>" for cell in line) for line in lines],
        lambda lines: [line[1::3] for line in lines],
    ),
    "row_number": Layer(
        NUMBERS,
        lambda lines, _: [f"{number} {line}" for number, line in enumerate(lines, 1)],
        lambda lines: [line.partition(" ")[2] for line in lines],
    ),
    "code_block": Layer(
        FENCE,
        lambda lines, _: ["```grid", *lines, "```"],
        lambda lines: lines[1:-1],
    ),
    "shape": Layer(
        FENCE,
        lambda lines, shape: [f"```grid shape: {shape[0]}x{shape[1]}", *lines, "```"],
        lambda lines: lines[1:-1],
    ),
    "symbols": Layer(
        None,
        lambda lines, _: [line.translate(SWAP) for line in lines],
        lambda lines: [line.translate(SWAP) for line in lines],
    ),
}


@dataclass(frozen=True)
class Encoder:
    """A composition of layers, by their names from the inside out.

    Raises:
        ValueError: If a name is unknown or the names do not compose.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if unknown := [name for name in self.names if name not in LAYERS]:
            raise ValueError(f"no encoder {unknown}; an encoder is one of {list(LAYERS)}")
        places = [LAYERS[name].place for name in self.names]
        fixed = [place for place in places if place is not None]
        composed = places[:1] == [CELLS] and fixed == sorted(set(fixed))
        if not composed or places.count(None) > ("tokens" not in self.names):
            cells, fences = (
                " or ".join(name for name, layer in LAYERS.items() if layer.place == place)
                for place in (CELLS, FENCE)
            )
            raise ValueError(
                f"encoders {list(self.names)} do not compose; from the inside out they are"
                f" {cells}, then maybe row_number, then maybe {fences},"
                " and symbols at most once anywhere after the first, and not with tokens"
            )

    @property
    def tokens(self) -> dict[str, str]:
        """The tokens that a tokenizer needs for it -> those that they begin as."""
        return TOKENS if "tokens" in self.names else {}

    def encode(self, grid: np.ndarray) -> str:
        """Return the text of a grid, uint8 of shape (height, width)."""
        width = grid.shape[1]
        cells = (grid + ord("0")).tobytes().decode()
        lines = [cells[start : start + width] for start in range(0, len(cells), width)]
        for name in self.names:
            lines = LAYERS[name].write(lines, grid.shape)
        return "\n".join(lines)

    def decode(self, text: str) -> np.ndarray | None:
        """Return the grid that `encode` writes as this text, uint8 of shape (height, width).

        Returns:
            None if there is no such grid.
        """
        lines = text.split("\n")
        for name in reversed(self.names):
            lines = LAYERS[name].read(lines)
        height, width = len(lines), len(lines[0]) if lines else 0
        cells = "".join(lines)
        if not height or not width or len(cells) != height * width or not set(cells) <= set(DIGITS):
            return None
        grid = (np.frombuffer(cells.encode(), np.uint8) - ord("0")).reshape(height, width)
        # Reading takes a wrong header or row number, a ragged row, a second separator;
        # what it made of them does not come back as the same text.
        return grid if self.encode(grid) == text else None
