"""The page of a study: every number of the table, its charts, and what happened to each task."""

import base64
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from arcmix.ledger import (
    comparison,
    correlations,
    grid,
    noise,
    repeat,
    scaling,
    summary,
    table,
    verdicts,
)
from arcmix.ledger.differences import SHORT
from arcmix.ledger.records import Row
from arcmix.ledger.subsets import Axis
from arcmix.ledger.table import Block, Line
from arcmix.pages import charts, drawing, svg, templates

LEAD = """\
Which training data makes the model better at ARC? A table for each model, scale and set of
validation tasks, with the runs that it is made of."""
"""The first paragraph of the page."""

PICTURE = re.compile('src="data:[^"]*"')
"""Pattern of a chart in the page."""

SCALING = """\
Loss and scores by number of training tasks. The bars and the band of the loss are the intervals of
its difference from the loss with the most tasks, so they have no width there."""
"""Text of a chart of the scaling."""

AXES: tuple[Axis, ...] = ("examples", "variations")
"""Settings of a component that stand beside its number of tasks in a heat map."""

MIN_POINTS = 3
"""Smallest number of datasets of which two metrics are drawn."""

STRONGEST = 0.5
"""Difference from the baseline that has the strongest color, in nats per cell."""


@dataclass(frozen=True)
class Picture:
    """A chart on the page."""

    source: str
    """The SVG as the URL of an image."""
    text: str
    """What it shows, for those who do not see it."""


@dataclass(frozen=True)
class Cell:
    """What a dataset does for a validation task."""

    text: str
    """Its loss per cell, a mean over the seeds: the difference from that of the baseline, or the
    loss itself if it is that of the baseline or there is none."""
    kind: str
    """The class of its HTML element: `better`, `worse`, or empty."""
    strength: float
    """How strong its color is, from 0 to 1."""
    solved: str
    """Share of the runs that solve the task, as text; empty if none does."""


@dataclass(frozen=True)
class Matrix:
    """What each dataset does for each validation task."""

    names: Sequence[str]
    """The lines."""
    rows: Mapping[str, Sequence[Cell | None]]
    """Task -> a cell for each line; None if the line has no loss of the task. The task with the
    lowest loss of the baseline is the first."""


def page(blocks: Sequence[Block]) -> str:
    """Return the HTML of the page; equal blocks give equal texts.

    Args:
        blocks: The blocks of the table.
    """
    return templates.render(
        "study.html",
        title="arcmix: the study",
        lead=LEAD,
        palette=svg.PALETTE,
        legend=summary.LEGEND.split("`"),
        blocks=[_block(block) for block in blocks],
        noise=_noise(blocks),
    )


def without_pictures(page: str) -> str:
    """Return a page without its charts, which another version of matplotlib may draw otherwise."""
    return PICTURE.sub('src=""', page)


def _block(block: Block) -> dict[str, object]:
    """Return the values of a block for the template."""
    drawn, numbers = [block], _numbers(block)
    rows = [row for line in block.lines for row in line.rows]
    return {
        "title": block.title,
        "commit": block.commit,
        "findings": summary.findings(block),
        "forest": picture(charts.forest(drawn), "Loss per cell of each dataset, with intervals"),
        "curves": picture(charts.curves(drawn), "Losses of each dataset by optimizer step"),
        "lines": block.lines,
        "columns": [*numbers],
        "rows": [*zip(*numbers.values(), strict=True)],
        "matrix": matrix(block),
        "scalings": [
            (picture(charts.scaling(one), SCALING), one.text) for one in scaling.scalings(rows)
        ],
        "grids": [
            (picture(charts.heat(one), f"Loss by training tasks and {one.axis} of each"), one.text)
            for axis in AXES
            for one in grid.grids(rows, axis)
        ],
        "pairs": None if block.other_seeds else _pairs(block),
        "runs": [_run(line, row) for line in block.lines for row in line.rows],
    }


def _noise(blocks: Sequence[Block]) -> list[tuple[str, list[list[str]]]]:
    """Return the spread of the loss by each seed, for each code, model and scale with such runs.

    Returns:
        Titles, with rows of texts: the seed, groups, runs, mean ± standard deviation, share.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for block in blocks:
        made = f", code of commit {block.commit[:SHORT]}" if block.commit else ""
        for row in (row for line in block.lines for row in line.rows):
            groups.setdefault((row.code, f"{row.model} at {row.scale}{made}"), []).append(row)
    found = []
    for (_, title), rows in groups.items():
        spreads = noise.spreads(rows, verdicts.LOSS)
        shares = noise.shares(spreads) or [None] * len(spreads)
        lines = [
            [
                one.factor,
                str(one.groups),
                str(one.runs),
                f"{one.mean:.4f} ± {one.deviation:.4f}",
                "" if share is None else noise.percent(share),
            ]
            for one, share in zip(spreads, shares, strict=True)
            if one.groups
        ]
        if lines:
            found.append((title, lines))
    return found


def _pairs(block: Block) -> dict[str, object] | None:
    """Return the chart of the metrics that go together and what it says; None for few lines."""
    found = correlations.correlations([line.rows for line in block.lines if line.rows[0].trained])
    if any(len(one.values) < MIN_POINTS for one in found):
        return None
    said = {f"{one.first} and {one.second}": one.text for one in found}
    return {"picture": picture(charts.pairs(found), "Two metrics of each dataset"), "said": said}


def picture(figure: drawing.Figure, text: str) -> Picture:
    """Return a chart as an image that a page holds in itself."""
    encoded = base64.b64encode(drawing.as_svg(figure).encode()).decode()
    return Picture(f"data:image/svg+xml;base64,{encoded}", text)


def _numbers(block: Block) -> dict[str, list[str]]:
    """Return name -> the texts of the lines, for all columns of the CSV that are not empty."""
    frame = table.as_frame([block]).drop(columns=["label", "differs", "verdict", "commit", "code"])
    frame.insert(0, "line", [line.label for line in block.lines])
    return {
        str(name): [_text(value) for value in values]
        for name, values in frame.dropna(axis="columns", how="all").to_dict("list").items()
    }


def _text(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)


def matrix(block: Block) -> Matrix:
    """Return what each line of a block does for each validation task."""
    losses = [_means(line, verdicts.LOSS) for line in block.lines]
    solved = [_means(line, "selected_2") for line in block.lines]
    base = block.lines.index(block.baseline) if block.baseline else None
    order = losses[base if base is not None else 0]
    tasks = sorted(set().union(*losses), key=lambda task: (order.get(task, float("inf")), task))
    rows = {}
    for task in tasks:
        reference = None if base is None else losses[base].get(task)
        rows[task] = [
            _cell(own[task], None if number == base else reference, won.get(task, 0.0))
            if task in own
            else None
            for number, (own, won) in enumerate(zip(losses, solved, strict=True))
        ]
    return Matrix([line.label for line in block.lines], rows)


def _means(line: Line, metric: str) -> dict[str, float]:
    """Return task -> the mean of a metric over the runs; tasks without it are left out."""
    values: dict[str, list[float]] = {}
    for row in line.rows:
        for task, numbers in row.tasks.items():
            if (value := numbers.get(metric)) is not None:
                values.setdefault(task, []).append(value)
    return {task: statistics.fmean(found) for task, found in values.items()}


def _cell(loss: float, reference: float | None, solved: float) -> Cell:
    share = f"{100 * solved:.0f} %" if solved else ""
    if reference is None:
        return Cell(f"{loss:.3f}", "", 0.0, share)
    found = loss - reference
    kind = "better" if found < 0 else "worse"
    return Cell(f"{found:+.3f}", kind, round(min(1.0, abs(found) / STRONGEST), 2), share)


def _run(line: Line, row: Row) -> dict[str, object]:
    """Return a run as name -> text."""
    numbers = {name: f"{row.metrics[name]:.6g}" for name in sorted(row.metrics)}
    return {
        "line": line.label,
        "name": row.name,
        "seed": row.seed,
        "machine": comparison.described(row),
        "adapter": row.adapter,
        "command": repeat.command(row),
        "metrics": numbers,
    }
