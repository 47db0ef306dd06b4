"""Lenient decoding of grids: what arc24 reads as a grid, although `Encoder.encode` never writes it.

The closing fence may be missing, and text may follow it. Neither the shape of a header nor the row
numbers have to be right. A row may be surrounded by blanks where arc24's conversion to integers
accepts them. The rows still have to be a rectangle of the integers 0-9.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from arcmix.parsing import as_grid
from arcmix.text.encode import DIGITS, REPEATS, SYMBOLS

READ = str.maketrans(SYMBOLS, DIGITS)
"""Symbol -> its digit. Digits among symbols stay digits."""


def _inside_block(text: str) -> str:
    return text.split("```grid\n", 2)[1].split("\n```", 1)[0]


def _inside_shape(text: str) -> str:
    header = "```grid shape:"
    lines = itertools.dropwhile(lambda line: not line.startswith(header), text.splitlines())
    # A header among the rows, unlike any other fence, does not end the grid.
    rows = (line for line in lines if not line.startswith(header))
    return "\n".join(itertools.takewhile(lambda line: not line.startswith("```"), rows))


LAYERS: Mapping[str, Callable[[str], str]] = {
    "row_number": lambda text: "\n".join(line.split(" ", 1)[1] for line in text.splitlines()),
    "code_block": _inside_block,
    "shape": _inside_shape,
    "symbols": lambda text: text.translate(READ),
}
"""Name of a layer -> a function that removes it, or may raise an IndexError if it is missing."""

CELLS: Mapping[str, Callable[[str], Sequence[str]]] = {
    "minimal": lambda line: line,
    "separator": lambda line: line.split("|"),
    "repeat": lambda line: line[::REPEATS],
    "tokens": lambda line: line[1::3],
}
"""Name of a layer -> a function that returns the texts of the cells of a row."""


def decode(names: Sequence[str], text: str) -> np.ndarray | None:
    """Return the grid in a text, uint8 (height, width), or None if there is none.

    Args:
        names: Names of the layers, innermost first (`Encoder`).
        text: A text.
    """
    cells, *others = names
    try:
        for name in reversed(others):
            text = LAYERS[name](text)
        lines = text.strip().splitlines()
        # A side has no limit here, and no text has longer ones than itself.
        return as_grid([[int(cell) for cell in CELLS[cells](line)] for line in lines], len(text))
    except (IndexError, ValueError):
        return None
