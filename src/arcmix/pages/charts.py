"""Charts of the ledger's runs."""

import textwrap
from collections import defaultdict
from collections.abc import Sequence
from itertools import cycle
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from arcmix.ledger import summary, verdicts
from arcmix.ledger.correlations import Pairs
from arcmix.ledger.grid import Grid
from arcmix.ledger.scaling import Point, Scaling
from arcmix.ledger.table import Block, Line
from arcmix.pages import drawing
from arcmix.pages.drawing import INK

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

ASIDE = 1.04
"""Factor between the places of two points that stand for the same number of tasks."""

DASHES = ("-", "--", ":")
"""Line styles; the next one is used each time the colors are exhausted."""

KINDS = {
    "better": "#0077bb",
    "worse": "#cc3311",
    "unclear": "#888888",
    None: "#bbbbbb",
}
"""What a difference from the baseline is (`verdicts.Verdict.kind`) -> the color of its line."""


def forest(blocks: Sequence[Block]) -> Figure:
    """Return a chart with the loss per cell of each line, and how certain its difference is.

    A vertical line marks the baseline. The bar of another line is the 95 % interval of its
    difference from the baseline, around the loss of the line. A small mark is a run.

    Args:
        blocks: The blocks of the table, a panel each.
    """
    with drawing.styled():
        figure, panels = _panels(blocks, columns=1)
        for block, (axes,) in zip(blocks, panels, strict=True):
            _draw_forest(axes, block)
        names = verdicts.KINDS
        keys = [
            *(
                Line2D([], [], color=KINDS[kind], marker="o", label=f"{name} than the baseline")
                for kind, name in names.items()
                if kind != "unclear"
            ),
            Line2D([], [], color=KINDS["unclear"], marker="o", label=names["unclear"]),
            Line2D([], [], color=KINDS[None], marker="o", linestyle="", label="not compared"),
            Line2D([], [], color=INK, marker="|", linestyle="", label="a run"),
        ]
        figure.legend(handles=keys, loc="outside lower center", ncols=len(keys))
        return figure


def curves(blocks: Sequence[Block]) -> Figure:
    """Return a chart with the training loss and the validation loss of each line by step.

    A curve is the mean over seeds, and a band shows the minimum and the maximum.

    Args:
        blocks: The blocks of the table, two panels each.
    """
    with drawing.styled():
        figure, panels = _panels(blocks, columns=2)
        for block, (train, validation) in zip(blocks, panels, strict=True):
            _draw_curves(train, block, "train_loss")
            _draw_curves(validation, block, "val_loss")
            train.set_title(textwrap.fill(block.title, 48))
            train.set_ylabel("training loss\n(nats per answer token)")
            validation.set_ylabel("validation loss\n(nats per answer token)")
            validation.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        return figure


def scaling(found: Scaling) -> Figure:
    """Return a chart with the loss per cell and the scores by the number of training tasks.

    A small mark is a run. The bar of a loss is the interval of its difference from the loss with
    the most tasks, that of a score its own interval. The band around the law is its interval.

    Args:
        found: The losses and scores of one design.
    """
    with drawing.styled():
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        if found.curve:
            sizes = [point.tasks for point in found.curve]
            low, high = ([getattr(one, end) for one in found.curve] for end in ("low", "high"))
            left.fill_between(sizes, low, high, color=COLORS[0], alpha=0.15, linewidth=0)
            left.plot(sizes, [point.mean for point in found.curve], color=COLORS[0])
        _draw_points(left, found.points, COLORS[0], "loss")
        left.set_ylabel("loss per cell (nats)")
        for place, (name, points) in enumerate(found.scores.items()):
            _draw_points(right, points, COLORS[place], name, shift=ASIDE**place)
        right.set_ylabel("share of the validation tasks")
        right.set_ylim(bottom=0)
        right.legend()
        sizes = [one.tasks for one in found.scores[next(iter(found.scores))]]
        for axes in (left, right):
            axes.set_xscale("log")
            axes.set_xticks(sizes, [str(size) for size in sizes])
            axes.set_xticks([], minor=True)
            axes.set_xlabel("training tasks")
            axes.grid()
        left.set_title(found.label)
        return figure


def _draw_points(
    axes: Axes, points: Sequence[Point], color: str, label: str, shift: float = 1.0
) -> None:
    sizes, means = [one.tasks * shift for one in points], [one.mean for one in points]
    below = [one.mean - one.low for one in points]
    above = [one.high - one.mean for one in points]
    axes.errorbar(sizes, means, yerr=[below, above], color=color, fmt="o", capsize=3, label=label)
    for size, one in zip(sizes, points, strict=True):
        axes.plot([size] * len(one.runs), one.runs, "_", color=INK, markersize=4)


def heat(grid: Grid) -> Figure:
    """Return a heat map of the loss per cell by training tasks and examples of each.

    Args:
        grid: The losses of one design; a cell without a run is white.
    """
    with drawing.styled():
        size = 1.5 + 1.1 * len(grid.amounts), 1.2 + 0.45 * len(grid.tasks)
        figure = Figure(figsize=(max(5.0, size[0]), size[1]), layout="constrained")
        axes = figure.subplots()
        means = grid.means
        image = axes.imshow(means, cmap="viridis", aspect="auto")
        middle = float(np.nanmean([np.nanmin(means), np.nanmax(means)]))
        for (tasks, amount), loss in grid.losses.items():
            place = grid.amounts.index(amount), grid.tasks.index(tasks)
            color = "white" if loss.mean < middle else "black"
            axes.text(*place, f"{loss.mean:.3f}", ha="center", va="center", color=color)
        axes.set_xticks(range(len(grid.amounts)), [str(one) for one in grid.amounts])
        axes.set_yticks(range(len(grid.tasks)), [str(one) for one in grid.tasks])
        axes.set_xlabel(f"{grid.axis} of each task")
        axes.set_ylabel("training tasks")
        axes.set_title(grid.label)
        figure.colorbar(image, label="loss per cell (nats)")
        return figure


def pairs(found: Sequence[Pairs]) -> Figure:
    """Return a chart with a panel for each two metrics and a point for each experiment.

    Args:
        found: The metrics of the experiments of a table, one pair or more.
    """
    with drawing.styled():
        figure = Figure(figsize=(8, 2.8), layout="constrained")
        (panels,) = figure.subplots(1, len(found), squeeze=False)
        for axes, one in zip(panels, found, strict=True):
            axes.plot(*zip(*one.values, strict=True), "o", color=COLORS[0])
            axes.set_xlabel(one.first)
            axes.set_ylabel(one.second)
            axes.grid()
        return figure


def _panels(blocks: Sequence[Block], columns: int) -> tuple[Figure, np.ndarray]:
    """Return a figure and its axes, object (blocks, columns)."""
    inches = [max(1.4 * columns, 1 + 0.25 * len(block.lines)) for block in blocks]
    # pyplot is not used, because it chooses a backend by the display and keeps figures in memory.
    figure = Figure(figsize=(8, sum(inches) + 0.3), layout="constrained")
    return figure, figure.subplots(len(blocks), columns, squeeze=False, height_ratios=inches)


def _draw_forest(axes: Axes, block: Block) -> None:
    if block.baseline:
        axes.axvline(block.baseline.mean(verdicts.LOSS), color=INK, linestyle=":", linewidth=1)
    for number, line in enumerate(block.lines):
        mean, found = line.mean(verdicts.LOSS), line.verdict.difference
        color = KINDS[line.verdict.kind]
        if found is not None:
            half = found.half_width()
            axes.errorbar(mean, number, xerr=half, color=color, capsize=3, linewidth=2)
        axes.plot(line.values(verdicts.LOSS), [number] * len(line.rows), "|", color=INK)
        axes.plot(mean, number, "o", color=color)
        axes.text(
            1.01,
            number,
            _said(line),
            transform=axes.get_yaxis_transform(),
            va="center_baseline",
        )
    axes.set_title(textwrap.fill(block.title, 60))
    axes.set_xlabel("loss per cell (nats), a mean over the validation tasks")
    axes.set_yticks(range(len(block.lines)), [line.label for line in block.lines])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(block.lines) - 0.5, -0.5)
    axes.grid(axis="x")


def _said(line: Line) -> str:
    """Return the loss of a line, and what its verdict is in a word or two."""
    count, kind = len(line.rows), line.verdict.kind
    seeds = f"{count} seed{'s' * (count > 1)}"
    word = "baseline" if line.verdict == verdicts.BASELINE else kind and verdicts.KINDS[kind]
    said = [summary.loss(line.mean(verdicts.LOSS)), seeds, *([word] if word else [])]
    return ", ".join(said)


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
