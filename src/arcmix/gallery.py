"""Tasks and training samples as pages to look at: no script, and nothing is fetched.

A grid is an inline SVG with one path for each of its colors, so that a page of hundreds of
grids stays small and every cell is a shape that a browser can be asked about.
"""

import html
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from arcmix.tasks import COLORS, Pair, Task

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

WIDEST, CELLS = 240, (4, 20)
"""Pixels of the longest side of a task's grids, as long as a cell's side stays between these."""

GRIDS = ("heights", "widths", "cells")
"""The columns of the samples that hold their grids."""

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
pre { margin: .75rem 0 0; padding: .75rem; columns: 19rem; column-rule: 1px solid var(--line);
  border: 1px solid var(--line); border-radius: 6px; white-space: pre-wrap;
  overflow-wrap: anywhere; font: 12.5px/1.45 ui-monospace, monospace; }
pre i { font-style: normal; }
pre i:nth-child(odd) { background: #e6e9ee; }
pre i:hover { outline: 1px solid #1c2026; }
mark { background: #ffe9a8; color: inherit; }
mark i:nth-child(odd) { background: #ffd45c; }
pre .end::before { content: "\\21b5"; color: #9aa1ab; }
pre .special { color: #a3137f; font-weight: 600; }
table { border-collapse: collapse; background: #fff; }
th, td { padding: .35rem .9rem; border: 1px solid var(--line); text-align: left; }
td + td { text-align: right; font-variant-numeric: tabular-nums; }
""" + "".join(f".c{number} {{ fill: {color}; }}\n" for number, color in enumerate(PALETTE))
"""The look of all pages."""


@dataclass(frozen=True)
class Token:
    """A token as a page shows it."""

    text: str
    special: bool
    """Whether it is one of the tokenizer's own marks, such as the end of a text."""
    trained: bool
    """Whether it carries loss."""


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


def task(found: Task) -> str:
    """Return a task with all its demonstrations and tests as one section of a page."""
    facts = [
        found.split,
        _counted(len(found.train), "demonstration"),
        _counted(len(found.test), "test"),
        _counted(found.cells, "cell"),
    ]
    if found.rng is not None and found.pso is not None:
        facts.append(f"variation {found.variation}")
        facts.append(f"difficulty: RNG {found.rng:.2f}, PSO {found.pso:.2f}")
    return _section(found.id, facts, _pairs(found.train, found.test))


def sample(row: Mapping[str, Any], tokens: Sequence[Token], max_tokens: int) -> str:
    """Return a training sample as one section of a page: its grids, then its text in tokens.

    Args:
        row: The sample by the columns of its table; the grids and the color map are drawn, and
            what other columns hold is shown as it is.
        tokens: The sample's text.
        max_tokens: Tokens of the longest text that is trained on.
    """
    sizes = [*zip(row["heights"], row["widths"], strict=True)]
    flat = np.split(np.array(row["cells"], np.uint8), np.cumsum([h * w for h, w in sizes])[:-1])
    grids = [cells.reshape(size) for cells, size in zip(flat, sizes, strict=True)]
    pairs = [Pair(*both) for both in zip(grids[::2], grids[1::2], strict=True)]
    facts = [
        f"{name} {value}"
        for name, value in row.items()
        if value not in (None, []) and name not in ("sample", "colors", *GRIDS)
    ]
    long = f", more than the {max_tokens} that training takes" if len(tokens) > max_tokens else ""
    facts.append(f"{len(tokens)} tokens{long}")
    facts.append(f"{sum(token.trained for token in tokens)} of them with loss")
    colors = picture(np.array([range(COLORS), row["colors"]]), CELLS[1])
    drawn = _pairs(pairs[:-1], pairs[-1:])
    return _section(f"sample {row['sample']}", facts, f"{colors}{drawn}{text(tokens)}")


def text(tokens: Iterable[Token]) -> str:
    """Return tokens as HTML: an element each, those that carry loss in `mark`."""
    parts = []
    for trained, run in groupby(tokens, key=lambda token: token.trained):
        spans = "".join(map(_token, run))
        parts.append(f"<mark>{spans}</mark>" if trained else spans)
    return f"<pre>{''.join(parts)}</pre>"


def pieces(decode: Callable[[tuple[int, ...]], str], ids: Sequence[int]) -> list[str]:
    """Return the text of each token; all of them together are the text of the ids.

    Decoded one at a time, a token may lose the space that it begins with, and the bytes of a
    character that takes several tokens are no text. So a token is decoded behind the one
    before it, and a character is the text of its last token, its others' being empty.
    """
    found = []
    start = 0
    for stop in range(1, len(ids) + 1):
        before = tuple(ids[max(start - 1, 0) : start])
        piece = decode((*before, *ids[start:stop])).removeprefix(decode(before))
        if piece.endswith("\ufffd") and stop < len(ids):
            found.append("")
        else:
            found.append(piece)
            start = stop
    return found


def page(title: str, lead: str, body: Iterable[str]) -> str:
    """Return a whole page; all of them stand in one folder, beside `index.html`.

    Args:
        title: Of the page.
        lead: What it shows, one paragraph of text.
        body: HTML.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
        f'<nav><a href="index.html">Gallery</a></nav>\n<h1>{html.escape(title)}</h1>\n'
        f"<p>{html.escape(lead)}</p>\n{chr(10).join(body)}\n</body>\n</html>\n"
    )


def index(rows: Sequence[tuple[str, int, int]]) -> str:
    """Return the table of all pages.

    Args:
        rows: Of each page its name, how many it shows, and of how many.
    """
    cells = "".join(
        f'<tr><td><a href="{html.escape(name)}.html">{html.escape(name)}</a></td>'
        f"<td>{shown}</td><td>{total}</td></tr>\n"
        for name, shown, total in rows
    )
    return f"<table>\n<tr><th>page</th><th>shown</th><th>of</th></tr>\n{cells}</table>"


def _pairs(train: Sequence[Pair], test: Sequence[Pair]) -> str:
    if not train:
        # No rule to show: a grid that is asked about, its own output.
        return _cards((f"grid {number}", "", [one.input]) for number, one in enumerate(test, 1))
    return _cards(
        (f"{role} {number}", role, [pair.input, pair.output])
        for role, pairs in (("demonstration", train), ("test", test))
        for number, pair in enumerate(pairs, 1)
    )


def _cards(found: Iterable[tuple[str, str, Sequence[np.ndarray]]]) -> str:
    """Return cards of a title, a class and grids each, all grids on one scale."""
    cards = [*found]
    longest = max(max(one.shape) for *_, grids in cards for one in grids)
    side = min(max(WIDEST // longest, CELLS[0]), CELLS[1])
    arrow = '<div class="arrow">↓</div>'
    drawn = [
        f'<div class="pair {kind}"><h3>{title}</h3>'
        f"{arrow.join(_figure(one, side) for one in grids)}</div>"
        for title, kind, grids in cards
    ]
    return f'<div class="pairs">{"".join(drawn)}</div>'


def _figure(cells: np.ndarray, side: int) -> str:
    height, width = cells.shape
    caption = f"<figcaption>{height} by {width}</figcaption>"
    return f"<figure>{picture(cells, side)}{caption}</figure>"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _section(title: str, facts: Sequence[str], body: str) -> str:
    items = "".join(f"<li>{html.escape(fact)}</li>" for fact in facts)
    return f"<section>\n<h2>{html.escape(title)}</h2>\n<ul>{items}</ul>\n{body}\n</section>"


def _token(token: Token) -> str:
    kinds = ["special"] * token.special + ["end"] * token.text.startswith("\n")
    kind = f' class="{" ".join(kinds)}"' if kinds else ""
    return f"<i{kind}>{html.escape(token.text, quote=False)}</i>"
