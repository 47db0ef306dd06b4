"""Encoders convert grids to text and back; they are composed from a list of names (after arc24).

A composition lists its layers innermost first, for example `minimal, row_number, shape`:

1. A row of cells becomes a line: `minimal` 012, `separator` 0|1|2, `repeat` 000111222, or
   `tokens` <0><1><2>, for which tokens are added to the tokenizer.
2. Optionally, `row_number` starts each line with its number.
3. Optionally, `code_block` or `shape` adds a fence before and after the lines.

`symbols` replaces each digit with a letter in the output of the layers before it. It may be
anywhere after the first layer, so it can include row numbers and the shape.

Decoding is strict: a text decodes to a grid only if `encode` returns exactly this text for it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

DIGITS = "0123456789"
SYMBOLS = "ñò÷ûąćďęĚĞ"
"""Replacements of the digits: each is one token of arc24's models and rare in other text."""

SWAP = str.maketrans(DIGITS + SYMBOLS, SYMBOLS + DIGITS)
"""Exchanges digits and symbols in both directions, so a digit among symbols is not a color."""

REPEATS = 3
"""Llama 3 has a token for each number of three digits, so 777 needs no more tokens than 7."""

TOKENS = {f"<{digit}>": digit for digit in DIGITS}
"""Tokens added to the tokenizer for the colors -> the tokens whose embeddings initialize them."""

CELLS, NUMBERS, FENCE = range(3)
"""Places in a composition, in order. Only the first is required."""


class Layer(NamedTuple):
    """One step of an encoding, which operates on the lines of a text."""

    place: int | None
    """Place in a composition; None for a layer that may occur once, anywhere after the cells."""
    write: Callable[[list[str], tuple[int, ...]], list[str]]
    """Encodes lines, given the (height, width) of the grid."""
    read: Callable[[list[str]], list[str]]
    """Decodes lines that `write` returned. For other lines, the result is undefined."""


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
    """A composition of layers.

    Raises:
        ValueError: If a name is unknown or the order of the names is wrong.
    """

    names: tuple[str, ...]
    """Names of the layers, innermost first."""

    def __post_init__(self) -> None:
        if unknown := [name for name in self.names if name not in LAYERS]:
            raise ValueError(
                f"unknown encoders {unknown}; the encoders are {list(LAYERS)}: correct"
                " prompt.encoder"
            )
        places = [LAYERS[name].place for name in self.names]
        fixed = [place for place in places if place is not None]
        composed = places[:1] == [CELLS] and fixed == sorted(set(fixed))
        if not composed or places.count(None) > ("tokens" not in self.names):
            cells, fences = (
                " or ".join(name for name, layer in LAYERS.items() if layer.place == place)
                for place in (CELLS, FENCE)
            )
            raise ValueError(
                f"encoders {list(self.names)} cannot be composed; the order is {cells}, then"
                f" optionally row_number, then optionally {fences}; symbols may occur once anywhere"
                " after the first, but not with tokens: correct prompt.encoder"
            )

    @property
    def tokens(self) -> dict[str, str]:
        """Tokens to add to the tokenizer -> the tokens whose embeddings initialize them."""
        return TOKENS if "tokens" in self.names else {}

    def encode(self, grid: np.ndarray) -> str:
        """Return the text of a grid, uint8 (height, width)."""
        width = grid.shape[1]
        cells = (grid + ord("0")).tobytes().decode()
        lines = [cells[start : start + width] for start in range(0, len(cells), width)]
        for name in self.names:
            lines = LAYERS[name].write(lines, grid.shape)
        return "\n".join(lines)

    def decode(self, text: str) -> np.ndarray | None:
        """Return the grid whose encoding is `text`, uint8 (height, width), or None if none is."""
        lines = text.split("\n")
        for name in reversed(self.names):
            lines = LAYERS[name].read(lines)
        height, width = len(lines), len(lines[0]) if lines else 0
        cells = "".join(lines)
        if not height or not width or len(cells) != height * width or not set(cells) <= set(DIGITS):
            return None
        grid = (np.frombuffer(cells.encode(), np.uint8) - ord("0")).reshape(height, width)
        # Layers also decode texts with wrong headers, wrong row numbers or uneven rows. The
        # encoding of such a grid is a different text.
        return grid if self.encode(grid) == text else None
