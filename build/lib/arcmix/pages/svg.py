"""SVG pictures of grids, and the colors of ARC.

A picture has one path for each color, so a page of hundreds of grids stays small. The template
`grid.svg` draws a picture.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np

PALETTE = (
    "#000000",
    "#0074D9",
    "#FF4136",
    "#2ECC40",
    "#FFDC00",
    "#AAAAAA",
    "#F012BE",
    "#FF851B",
    "#7FDBFF",
    "#870C25",
)
"""The colors 0-9 of ARC's testing interface."""


@dataclass(frozen=True)
class Picture:
    """The values of the template `grid.svg`; the unit of length is a cell."""

    height: int
    width: int
    side: int
    """Side of a cell, in pixels."""
    paths: Mapping[int, str]
    """Color -> the path that is filled with it."""
    lines: str
    """The path of the lines between cells."""


def picture(cells: np.ndarray, side: int) -> Picture:
    """Return the picture of a grid.

    Args:
        cells: The grid, uint8 (height, width).
        side: Side of a cell, in pixels.
    """
    height, width = cells.shape
    paths: defaultdict[int, str] = defaultdict(str)
    for y, row in enumerate(cells.tolist()):
        x = 0
        for color, run in groupby(row):
            # One rectangle covers a run of equal cells in a row.
            length = len(list(run))
            paths[color] += f"M{x} {y}h{length}v1h-{length}z"
            x += length
    lines = "".join(f"M{x} 0v{height}" for x in range(1, width))
    lines += "".join(f"M0 {y}h{width}" for y in range(1, height))
    return Picture(height, width, side, paths, lines)
