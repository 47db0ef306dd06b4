"""How figures look and how they are written. Only this package draws, with matplotlib."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib.style
from matplotlib.figure import Figure

from arcmix import files

INK = "#444444"
"""Color of text, axes and error bars."""

STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "font.size": 9,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "savefig.dpi": 150,
    "svg.hashsalt": "arcmix",  # equal figures have equal names in their SVG
    "text.color": INK,
    "text.parse_math": False,  # a "$" in a name is no formula
    "xtick.color": INK,
    "ytick.color": INK,
}
"""Settings that differ from matplotlib's defaults."""


@contextmanager
def styled() -> Iterator[None]:
    """Draw and write figures of this style in the body."""
    with matplotlib.style.context(["default", STYLE]):
        yield


def write_png(path: Path, figure: Figure) -> None:
    """Write a figure as PNG; equal figures give equal bytes."""
    with styled(), files.replacing(path) as new:
        # Without metadata, another version of matplotlib does not change the bytes.
        figure.savefig(new, format="png", metadata={"Software": None})


def as_svg(figure: Figure) -> str:
    """Return a figure as SVG; equal figures give equal texts."""
    text = io.StringIO()
    with styled():
        figure.savefig(text, format="svg", metadata={"Creator": None, "Date": None})
    return text.getvalue()
