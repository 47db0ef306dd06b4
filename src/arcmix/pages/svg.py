"""The colors of grids, and grids as SVG pictures.

A picture has one path for each color, so that a page of hundreds of grids stays small and a
browser knows the color of each cell. The template `grid.svg` draws it.
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
"""The colors 0-9 of ARC's own testing interface."""


@dataclass(frozen=True)
class Picture:
    """A grid as `grid.svg` draws it; its unit of length is a cell."""

    height: int
    width: int
    side: int
    """Pixels of a cell's side."""
    paths: Mapping[int, str]
    """Color -> the path that it fills."""
    lines: str
    """The path of the lines between cells."""


def picture(cells: np.ndarray, side: int) -> Picture:
    """Return the picture of a grid.

    Args:
        cells: uint8 (height, width).
        side: Pixels of a cell's side.
    """
    height, width = cells.shape
    paths: defaultdict[int, str] = defaultdict(str)
    for y, row in enumerate(cells.tolist()):
        x = 0
        for color, run in groupby(row):
            # A rectangle covers each run of equal cells in a row.
            length = len(list(run))
            paths[color] += f"M{x} {y}h{length}v1h-{length}z"
            x += length
    lines = "".join(f"M{x} 0v{height}" for x in range(1, width))
    lines += "".join(f"M0 {y}h{width}" for y in range(1, height))
    return Picture(height, width, side, paths, lines)
