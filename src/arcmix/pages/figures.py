"""The figure of answers: grids of the best and the worst tasks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from arcmix.pages import drawing, svg
from arcmix.pages.drawing import INK
from arcmix.pages.report import Entry

ACROSS = 5
"""Number of tasks in a row of the figure of answers, with three grids each."""

GROUP = "#f1f2f4"
"""Background of the grids of a task in the figure of answers."""


def answers(path: Path, best: Sequence[Entry], worst: Sequence[Entry]) -> None:
    """Draw input, output and first answer of the first test of some tasks, as a PNG.

    Wrong cells are crossed. Equal entries give equal bytes.

    Args:
        path: The PNG.
        best: Tasks of the upper part.
        worst: Tasks of the lower part, which is left out if there are none.
    """
    parts = [(title, part) for title, part in (("best", best), ("worst", worst)) if part]
    rows = [-(-len(part) // ACROSS) for _, part in parts]
    with drawing.styled():
        size = 16, 2 * sum(rows) + 0.5 * len(rows)
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
        panels = figure.subfigures(len(parts), 1, squeeze=False, height_ratios=rows)
        for (title, part), (panel,), height in zip(parts, panels, rows, strict=True):
            heading = f"The {len(part)} {title} tasks: first test and first attempt"
            panel.suptitle(heading, x=0.01, ha="left")
            _draw_answers(panel, part, height)
    drawing.write_png(path, figure)


def _draw_answers(panel: SubFigure, entries: Sequence[Entry], rows: int) -> None:
    groups = panel.subfigures(rows, ACROSS, squeeze=False).reshape(-1)
    for entry, group in zip(entries, groups, strict=False):
        group.set(facecolor=GROUP, edgecolor="white", linewidth=6)
        group.suptitle(entry.task.id, fontsize=9, fontweight="bold")
        shown, found = entry.task.test[0], entry.rankings[0].answers
        left, middle, right = group.subplots(1, 3)
        _draw_grid(left, shown.input, "input")
        _draw_grid(middle, shown.output, "output")
        if not found:
            right.set_axis_off()
            right.text(0.5, 0.5, "no answer", ha="center", va="center")
            continue
        grid = found[0].grid
        if grid.shape != shown.output.shape:
            _draw_grid(right, grid, "wrong size")
            continue
        y, x = np.nonzero(grid != shown.output)
        _draw_grid(right, grid, f"{len(x)} of {grid.size} wrong" if len(x) else "right")
        # A black cross with a white edge is visible on every color.
        for color, size, width in (("white", 16, 2.5), ("black", 12, 1)):
            right.scatter(x, y, size, color, marker="x", linewidths=width)


def _draw_grid(axes: Axes, grid: np.ndarray, title: str) -> None:
    height, width = grid.shape
    axes.set_axis_off()
    axes.set_title(title, fontsize=8, loc="center")
    axes.imshow(grid, ListedColormap(svg.PALETTE), vmin=0, vmax=9, interpolation="nearest")
    axes.hlines(np.arange(height + 1) - 0.5, -0.5, width - 0.5, INK, linewidths=0.4)
    axes.vlines(np.arange(width + 1) - 0.5, -0.5, height - 0.5, INK, linewidths=0.4)
