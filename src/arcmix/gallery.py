"""Tasks and training samples as pages to look at: no script, and nothing is fetched."""

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from arcmix import drawing
from arcmix.tasks import COLORS, Pair, Task

WIDEST, CELLS = 240, (4, 20)
"""Pixels of the longest side of a task's grids, as long as a cell's side stays between these."""

GRIDS = ("heights", "widths", "cells")
"""The columns of the samples that hold their grids."""

STYLE = """\
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
"""
"""The look of a text in tokens and of the index."""


@dataclass(frozen=True)
class Token:
    """A token as a page shows it."""

    text: str
    special: bool
    """Whether it is one of the tokenizer's own marks, such as the end of a text."""
    trained: bool
    """Whether it carries loss."""


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
    colors = drawing.picture(np.array([range(COLORS), row["colors"]]), CELLS[1])
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
    body = "\n".join(body)
    return drawing.page(
        title,
        STYLE,
        f'<nav><a href="index.html">Gallery</a></nav>\n<h1>{html.escape(title)}</h1>\n'
        f"<p>{html.escape(lead)}</p>\n{body}",
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
    return f"<figure>{drawing.picture(cells, side)}{caption}</figure>"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _section(title: str, facts: Sequence[str], body: str) -> str:
    items = "".join(f"<li>{html.escape(fact)}</li>" for fact in facts)
    return f"<section>\n<h2>{html.escape(title)}</h2>\n<ul>{items}</ul>\n{body}\n</section>"


def _token(token: Token) -> str:
    kinds = ["special"] * token.special + ["end"] * token.text.startswith("\n")
    kind = f' class="{" ".join(kinds)}"' if kinds else ""
    return f"<i{kind}>{html.escape(token.text, quote=False)}</i>"
