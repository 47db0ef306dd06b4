"""HTML pages of tasks and training samples, without scripts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from arcmix.pages import svg, templates
from arcmix.pages.svg import Picture
from arcmix.tasks import COLORS, Pair, Task

MAX_GRID_SIDE = 240
"""Preferred limit on the longest side of the grids of an exhibit, in pixels."""

CELL_SIDES = (4, 20)
"""Smallest and largest side of a cell, in pixels."""

GRIDS = ("heights", "widths", "cells")
"""Columns of the table of samples that hold the grids."""


@dataclass(frozen=True)
class Token:
    """A token as a page shows it."""

    text: str
    special: bool
    """Whether it is a special token of the tokenizer, such as the end of a text."""
    trained: bool
    """Whether it counts in the loss."""

    @property
    def kinds(self) -> str:
        """The classes of its HTML element, separated by spaces."""
        return " ".join(["special"] * self.special + ["end"] * self.text.startswith("\n"))


@dataclass(frozen=True)
class TokenRun:
    """Consecutive tokens that all count in the loss, or that all do not."""

    trained: bool
    tokens: Sequence[Token]


@dataclass(frozen=True)
class Panel:
    """A frame with a pair of grids or a single grid."""

    title: str
    kind: str
    """The class of its HTML element: `demonstration`, `test`, or empty."""
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Exhibit:
    """A task or a training sample as a page shows it."""

    title: str
    facts: Sequence[str]
    panels: Sequence[Panel]
    colors: Picture | None = None
    """The color map of a sample: the original colors in row 0, the new colors in row 1."""
    runs: Sequence[TokenRun] = ()
    """The tokens of a sample's text."""


@dataclass(frozen=True)
class IndexRow:
    """An entry of the index."""

    name: str
    """Name of the page's file, without `.html`."""
    shown: int
    """Number of tasks or samples on the page."""
    total: int
    """Number of tasks or samples in the table."""


def task(shown: Task) -> Exhibit:
    """Return the exhibit of a task, with all its demonstrations and tests."""
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
    """Return the exhibit of a training sample: its grids, its color map and its tokens.

    Args:
        row: Column -> value of the sample. Grids and colors are drawn; other values are listed.
        tokens: The tokens of the sample's text.
        max_tokens: Limit on the tokens of a text in training.
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
        svg.picture(np.array([range(COLORS), row["colors"]]), CELL_SIDES[1]),
        runs(tokens),
    )


def runs(tokens: Iterable[Token]) -> list[TokenRun]:
    """Split tokens into runs of tokens that count in the loss and of tokens that do not."""
    return [
        TokenRun(trained, [*run])
        for trained, run in groupby(tokens, key=lambda token: token.trained)
    ]


def pieces(decode: Callable[[tuple[int, ...]], str], ids: Sequence[int]) -> list[str]:
    """Return the text of each token; their concatenation is the text of all ids.

    A token that is decoded alone may lose its leading space, so it is decoded after the token
    before it. If a character takes several tokens, its last token has the character, and the others
    have an empty text.

    Args:
        decode: Returns the text of some token ids.
        ids: The token ids of a text.
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
    """Return the HTML of a page of exhibits; it has to be in the folder of `index.html`.

    Args:
        title: Title of the page.
        lead: The first paragraph, as plain text.
        exhibits: The tasks or samples.
    """
    return templates.render(
        "gallery.html", title=title, lead=lead, palette=svg.PALETTE, exhibits=exhibits
    )


def index(lead: str, rows: Sequence[IndexRow]) -> str:
    """Return the HTML of the index, which links to all pages.

    Args:
        lead: The first paragraph, as plain text.
        rows: The entries of the index.
    """
    return templates.render(
        "gallery_index.html", title="Gallery", lead=lead, palette=svg.PALETTE, rows=rows
    )


def _panels(train: Sequence[Pair], test: Sequence[Pair]) -> list[Panel]:
    """Return a panel for each pair; all grids have the same cell size."""
    if train:
        found = [
            (f"{role} {number}", role, [pair.input, pair.output])
            for role, pairs in (("demonstration", train), ("test", test))
            for number, pair in enumerate(pairs, 1)
        ]
    else:
        # Without demonstrations, the sample is a grid with questions, and the output is its copy.
        found = [(f"grid {number}", "", [pair.input]) for number, pair in enumerate(test, 1)]
    longest = max(max(cells.shape) for *_, grids in found for cells in grids)
    side = min(max(MAX_GRID_SIDE // longest, CELL_SIDES[0]), CELL_SIDES[1])
    return [
        Panel(title, kind, [svg.picture(cells, side) for cells in grids])
        for title, kind, grids in found
    ]


def _counted(number: int, what: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1."""
    return f"{number} {what}{'s' * (number != 1)}"
