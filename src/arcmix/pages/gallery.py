"""Tasks and training samples as pages to look at. They run no script."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from arcmix.pages import svg, templates
from arcmix.pages.svg import Picture
from arcmix.tasks import COLORS, Pair, Task

WIDEST, CELLS = 240, (4, 20)
"""Pixels: the longest side of the grids of an exhibit, and the bounds of a cell's side."""

GRIDS = ("heights", "widths", "cells")
"""The columns of the samples that hold their grids."""


@dataclass(frozen=True)
class Token:
    """A token as a page shows it."""

    text: str
    special: bool
    """Whether it is one of the tokenizer's own marks, such as the end of a text."""
    trained: bool
    """Whether it carries loss."""

    @property
    def kinds(self) -> str:
        """The classes of its element."""
        return " ".join(["special"] * self.special + ["end"] * self.text.startswith("\n"))


@dataclass(frozen=True)
class TokenRun:
    """Successive tokens that all carry loss, or none of which does."""

    trained: bool
    tokens: Sequence[Token]


@dataclass(frozen=True)
class Panel:
    """A frame with a pair of grids, or with one grid."""

    title: str
    kind: str
    """The class of its element: `demonstration`, `test`, or none."""
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Exhibit:
    """A task or a training sample as a page shows it."""

    title: str
    facts: Sequence[str]
    panels: Sequence[Panel]
    colors: Picture | None = None
    """The color map of a sample: the colors above what took their places."""
    runs: Sequence[TokenRun] = ()
    """The text of a sample."""


@dataclass(frozen=True)
class IndexRow:
    """A page as the index lists it."""

    name: str
    """The name of its file without `.html`."""
    shown: int
    """Number of tasks or samples on the page."""
    total: int
    """Number of tasks or samples that they were taken from."""


def task(shown: Task) -> Exhibit:
    """Return a task with all its demonstrations and tests."""
    facts = [
        shown.split,
        _counted(len(shown.train), "demonstration"),
        _counted(len(shown.test), "test"),
        _counted(shown.cells, "cell"),
    ]
    if shown.rng is not None and shown.pso is not None:
        facts.append(f"variation {shown.variation}")
        facts.append(f"difficulty: RNG {shown.rng:.2f}, PSO {shown.pso:.2f}")
    return Exhibit(shown.id, facts, _panels(shown.train, shown.test))


def sample(row: Mapping[str, Any], tokens: Sequence[Token], max_tokens: int) -> Exhibit:
    """Return a training sample: its grids, then its text in tokens.

    Args:
        row: The sample by the columns of its table; the grids and the color map are drawn, and
            the values of other columns are shown as they are.
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
    facts.append(f"{_counted(len(tokens), 'token')}{long}")
    facts.append(f"{sum(token.trained for token in tokens)} of them with loss")
    return Exhibit(
        f"sample {row['sample']}",
        facts,
        _panels(pairs[:-1], pairs[-1:]),
        svg.picture(np.array([range(COLORS), row["colors"]]), CELLS[1]),
        runs(tokens),
    )


def runs(tokens: Iterable[Token]) -> list[TokenRun]:
    """Return tokens in runs of those that carry loss and those that do not."""
    return [
        TokenRun(trained, [*run])
        for trained, run in groupby(tokens, key=lambda token: token.trained)
    ]


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


def page(title: str, lead: str, exhibits: Sequence[Exhibit]) -> str:
    """Return a page of exhibits; all pages stand in one folder, beside `index.html`.

    Args:
        title: The page's title.
        lead: What the page shows, one paragraph of text.
        exhibits: The tasks or samples.
    """
    return templates.render(
        "gallery.html", title=title, lead=lead, palette=svg.PALETTE, exhibits=exhibits
    )


def index(lead: str, rows: Sequence[IndexRow]) -> str:
    """Return the page that links to all pages.

    Args:
        lead: What the gallery shows, one paragraph of text.
        rows: The pages.
    """
    return templates.render(
        "gallery_index.html", title="Gallery", lead=lead, palette=svg.PALETTE, rows=rows
    )


def _panels(train: Sequence[Pair], test: Sequence[Pair]) -> list[Panel]:
    """Return a panel for each pair, all grids on one scale."""
    if train:
        found = [
            (f"{role} {number}", role, [pair.input, pair.output])
            for role, pairs in (("demonstration", train), ("test", test))
            for number, pair in enumerate(pairs, 1)
        ]
    else:
        # Without demonstrations it is a grid that questions are about; its output equals it.
        found = [(f"grid {number}", "", [pair.input]) for number, pair in enumerate(test, 1)]
    longest = max(max(cells.shape) for *_, grids in found for cells in grids)
    side = min(max(WIDEST // longest, CELLS[0]), CELLS[1])
    return [
        Panel(title, kind, [svg.picture(cells, side) for cells in grids])
        for title, kind, grids in found
    ]


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
