"""Figures of the ablation table, of losses and of answers. Only this module uses matplotlib."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from statistics import fmean

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from arcmix import files
from arcmix.ledger import summary
from arcmix.ledger.table import Block, Line
from arcmix.pages import svg
from arcmix.pages.report import Entry

COLORS = (
    "#332288",
    "#cc6677",
    "#117733",
    "#88ccee",
    "#882255",
    "#ddcc77",
    "#44aa99",
    "#aa4499",
    "#999933",
)
"""The "muted" scheme of Paul Tol, which color-blind people can distinguish. Dark colors alternate
with light ones."""

DASHES = ("-", "--", ":")
"""Line styles; the next one is used each time the colors are exhausted."""

USES = {
    True: ("#ee9955", "uses validation demonstrations"),
    False: ("#6699cc", "uses none"),
    None: ("#bbbbbb", "unknown"),
}
"""Whether a line uses validation demonstrations -> the color of its bar, and its explanation."""

ACROSS = 5
"""Number of tasks in a row of the figure of answers, with three grids each."""

GROUP = "#f1f2f4"
"""Background of the grids of a task in the figure of answers."""

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
    "text.color": INK,
    "text.parse_math": False,  # a "$" in a name is no formula
    "xtick.color": INK,
    "ytick.color": INK,
}
"""Settings that differ from matplotlib's defaults."""


def bars(path: Path, blocks: Sequence[Block]) -> None:
    """Draw the best validation loss of each line as bars in a PNG: mean and standard deviation.

    Equal blocks give equal bytes.

    Args:
        path: The PNG.
        blocks: The blocks of the table.
    """
    with _panels(path, blocks, columns=1) as (figure, panels):
        for block, (axes,) in panels:
            _draw_bars(axes, block)
        unknown = any(line.uses_validation is None for block in blocks for line in block.lines)
        used = [look for uses, look in USES.items() if uses is not None or unknown]
        keys = [
            Line2D([], [], color=INK, linestyle=":", label="before training"),
            *(Patch(color=color, label=label) for color, label in used),
        ]
        figure.legend(handles=keys, loc="outside lower center", ncols=len(keys))


def curves(path: Path, blocks: Sequence[Block]) -> None:
    """Draw the training loss and the validation loss of each line by step, as a PNG.

    A curve is the mean over seeds, and a band shows the minimum and the maximum. Equal blocks give
    equal bytes.

    Args:
        path: The PNG.
        blocks: The blocks of the table.
    """
    with _panels(path, blocks, columns=2) as (_, panels):
        for block, (train, validation) in panels:
            _draw_curves(train, block, "train_loss")
            _draw_curves(validation, block, "val_loss")
            train.set_title(f"{block.title}, loss in nats per answer token")
            train.set_ylabel("training loss")
            validation.set_ylabel("validation loss")
            validation.legend(loc="center left", bbox_to_anchor=(1, 0.5))


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
    with matplotlib.style.context(["default", STYLE]):
        size = 16, 2 * sum(rows) + 0.5 * len(rows)
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
        panels = figure.subfigures(len(parts), 1, squeeze=False, height_ratios=rows)
        for (title, part), (panel,), height in zip(parts, panels, rows, strict=True):
            heading = f"The {len(part)} {title} tasks: first test and first attempt"
            panel.suptitle(heading, x=0.01, ha="left")
            _draw_answers(panel, part, height)
        _save(figure, path)


@contextmanager
def _panels(
    path: Path, blocks: Sequence[Block], columns: int
) -> Iterator[tuple[Figure, list[tuple[Block, Sequence[Axes]]]]]:
    """Yield a figure and a row of axes for each block; then write the figure."""
    inches = [max(1.4 * columns, 1 + 0.25 * len(block.lines)) for block in blocks]
    # pyplot is not used, because it chooses a backend by the display and keeps figures in memory.
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=(8, sum(inches) + 0.3), layout="constrained")
        axes = figure.subplots(len(blocks), columns, squeeze=False, height_ratios=inches)
        yield figure, list(zip(blocks, axes, strict=True))
        _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with files.replacing(path) as new:
        # Without metadata, another version of matplotlib does not change the bytes.
        figure.savefig(new, format="png", metadata={"Software": None})


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


def _draw_bars(axes: Axes, block: Block) -> None:
    axes.axvline(block.lines[0].mean("val_loss_step_0"), color=INK, linestyle=":")
    for number, line in enumerate(block.lines):
        mean, sd = line.mean("best_val_loss"), line.sd("best_val_loss")
        axes.barh(number, mean, 0.7, color=USES[line.uses_validation][0])
        if sd is not None:
            axes.errorbar(mean, number, xerr=sd, color=INK, capsize=3, linewidth=1)
        count = len(line.rows)
        axes.text(
            1.01,
            number,
            f"{summary.loss(mean, sd)}, {count} seed{'s' * (count > 1)}",
            transform=axes.get_yaxis_transform(),
            va="center_baseline",
        )
    axes.set_title(block.title)
    axes.set_xlabel("best validation loss (nats per answer token)")
    axes.set_yticks(range(len(block.lines)), [line.label for line in block.lines])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(block.lines) - 0.5, -0.5)
    axes.grid(axis="x")


def _draw_curves(axes: Axes, block: Block, column: str) -> None:
    looks = cycle((color, dash) for dash in DASHES for color in COLORS)
    for line, (color, dash) in zip(block.lines, looks, strict=False):
        losses = _by_step(line, column)
        steps, runs = list(losses), losses.values()
        low, mean, high = map(min, runs), map(fmean, runs), map(max, runs)
        axes.fill_between(steps, list(low), list(high), color=color, alpha=0.15, linewidth=0)
        mark = "o" if len(steps) == 1 else None  # a single point has no line
        axes.plot(steps, list(mean), color=color, linestyle=dash, marker=mark, label=line.label)
    axes.set_xlim(left=0)
    axes.set_xlabel("optimizer step")
    axes.grid()


def _by_step(line: Line, column: str) -> dict[int, list[float]]:
    """Return step -> a loss of each run that measured it at this step."""
    losses = defaultdict(list)
    for row in line.rows:
        for point in row.history:
            if point[column] is not None:
                losses[point["step"]].append(point[column])
    return dict(sorted(losses.items()))
