"""Grids as pictures, and the shell of a page that fetches nothing.

A grid is an inline SVG with one path for each of its colors, so that a page of hundreds of
grids stays small and every cell is a shape that a browser can be asked about.
"""

import html
from collections import defaultdict
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

STYLE = """\
:root { color-scheme: light; --line: #d8dbe0; --soft: #5c6470; }
body { margin: 0 auto; padding: 1.5rem; max-width: 90rem; background: #f4f5f7; color: #1c2026;
  font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: .5rem 0 0; font-size: 1.6rem; }
h2 { margin: 0; font: 600 1.05rem ui-monospace, monospace; }
p { max-width: 46rem; }
a { color: #0b5cad; }
section { margin: 1rem 0; padding: 1rem 1.25rem; background: #fff; border: 1px solid var(--line);
  border-radius: 8px; }
ul { display: flex; flex-wrap: wrap; gap: 0 1.25rem; margin: .15rem 0 .6rem; padding: 0;
  list-style: none; color: var(--soft); }
.pairs { display: flex; flex-wrap: wrap; gap: .75rem; margin-top: .75rem; }
.pair { padding: .5rem .75rem .75rem; border: 1px solid var(--line); border-radius: 6px; }
.test { background: #fff8e6; border-color: #e8cf8a; }
.pair h3 { margin: 0 0 .35rem; font-size: .85rem; font-weight: 600; }
.arrow { margin: .3rem 0; color: var(--soft); line-height: 1; }
figure { margin: 0; }
figcaption { color: var(--soft); font-size: .75rem; }
svg { display: block; outline: 1px solid #555; shape-rendering: crispEdges; }
.lines { fill: none; stroke: #555; stroke-width: 1px; vector-effect: non-scaling-stroke;
  pointer-events: none; }
""" + "".join(f".c{number} {{ fill: {color}; }}\n" for number, color in enumerate(PALETTE))
"""The look that all pages share."""


def picture(cells: np.ndarray, side: int) -> str:
    """Return a grid as SVG, `side` pixels a cell; a color's path has a rectangle for each run."""
    height, width = cells.shape
    paths: defaultdict[int, str] = defaultdict(str)
    for y, row in enumerate(cells.tolist()):
        x = 0
        for color, run in groupby(row):
            length = len(list(run))
            paths[color] += f"M{x} {y}h{length}v1h-{length}z"
            x += length
    shapes = "".join(f'<path class="c{color}" d="{path}"/>' for color, path in paths.items())
    lines = "".join(f"M{x} 0v{height}" for x in range(1, width))
    lines += "".join(f"M0 {y}h{width}" for y in range(1, height))
    return (
        f'<svg role="img" aria-label="grid of {height} by {width} cells"'
        f' width="{side * width}" height="{side * height}" viewBox="0 0 {width} {height}">'
        f'{shapes}<path class="lines" d="{lines}"/></svg>'
    )


def page(title: str, style: str, body: str) -> str:
    """Return a whole page.

    Args:
        title: Of the page, a text.
        style: CSS, in addition to `STYLE`.
        body: HTML.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{STYLE}{style}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )
