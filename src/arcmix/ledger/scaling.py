"""How the loss falls with the number of training tasks, in numbers for a figure and in words.

"Can I estimate how the loss will decrease if generating more tasks?" (arc24, iteration 7)
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from arcmix.ledger import subsets
from arcmix.ledger.records import Row
from arcmix.ledger.subsets import Cell
from arcmix.ledger.verdicts import LOSS, SCORES
from arcmix.stats import cells, scaling, shares
from arcmix.stats.differences import LEVEL, Difference
from arcmix.stats.scaling import FARTHEST

MULTIPLES = (2, FARTHEST)
"""Sizes that the text predicts, as multiples of the largest one that was measured."""

MISFIT = 0.01
"""Largest p-value of a law that the losses do not follow."""

CURVE = 60
"""Number of points of the curve."""


@dataclass(frozen=True)
class Point:
    """A mean at one number of training tasks."""

    tasks: int
    """Number of training tasks."""
    mean: float
    """The mean over seeds and validation tasks."""
    low: float
    """Lower end of its interval. For a loss, that of the difference from the largest number of
    training tasks, where it has no width; for a score, that of a share of the validation tasks."""
    high: float
    """Upper end."""
    runs: tuple[float, ...]
    """The mean of each run over the validation tasks, ordered by seed."""


@dataclass(frozen=True)
class Scaling:
    """The losses and scores of a design by the number of training tasks."""

    label: str
    """The label of the design (`subsets.Design`)."""
    points: tuple[Point, ...]
    """The losses, in nats per cell, of the sizes with two seeds or more, on the seeds and tasks
    that all of these have; none if they have too few."""
    curve: tuple[Point, ...]
    """The law and its band, at sizes that are even on a logarithmic axis, up to `FARTHEST` times
    the largest one; none without a fit. A point of it has no runs."""
    scores: dict[str, tuple[Point, ...]]
    """Name -> the points of each of `SCORES`. They have no fit: most are at or near 0."""
    trend: Difference | None
    """Change of the loss with each doubling; negative where it falls."""
    fit: scaling.Scaling | None
    """The law; None where the losses do not determine it."""
    text: str
    """What the losses say."""


def scalings(rows: Iterable[Row]) -> list[Scaling]:
    """Return the scaling of each design that varies the number of training tasks alone.

    Args:
        rows: Rows of the ledger that were made by the same code.
    """
    return [_scaling(one) for one in subsets.designs(rows)]


def _scaling(design: subsets.Design) -> Scaling:
    repeated = [cell for cell in design.cells if len(cell.rows) >= cells.MIN_SEEDS]
    counted = repeated if len(repeated) > 1 else design.cells
    sizes = [cell.tasks for cell in counted]
    scores = {name: _scores(design.cells, name) for name in SCORES}
    try:
        values = subsets.values(counted, LOSS)
        measured = cells.cells(values)
    except ValueError as error:
        return Scaling(design.label, (), (), scores, None, None, f"cannot tell: {error}")
    trend = scaling.trend(sizes, measured)
    points = tuple(_point(measured, values, sizes, at) for at in range(len(sizes)))
    try:
        fit = scaling.fit(sizes, measured)
    except ValueError as error:
        text = f"{_changes(trend, sizes)}; no prediction: {error}"
        return Scaling(design.label, points, (), scores, trend, None, text)
    if (reason := refusal(trend, fit)) is not None:
        text = f"{_changes(trend, sizes)}; no prediction: {reason}"
        return Scaling(design.label, points, (), scores, trend, None, text)
    text = "; ".join([_changes(trend, sizes), _predicted(fit), _floor(fit)])
    return Scaling(design.label, points, _curve(fit), scores, trend, fit, text)


def _point(measured: cells.Cells, values: np.ndarray, sizes: Sequence[int], at: int) -> Point:
    weights = np.zeros(len(sizes))
    weights[at] += 1
    weights[-1] -= 1
    mean, half = float(measured.means[at]), measured.contrast(weights).half_width()
    runs = values[at].mean(axis=1).tolist()
    return Point(sizes[at], mean, mean - half, mean + half, tuple(runs))


def _scores(found: Sequence[Cell], metric: str) -> tuple[Point, ...]:
    """Return the points of a score over all runs of each cell."""
    points = []
    for cell in found:
        runs = tuple(float(row.metrics[metric]) for row in cell.rows)
        mean = statistics.fmean(runs)
        low, high = shares.interval(mean, len(cell.rows[0].tasks))
        points.append(Point(cell.tasks, mean, low, high, runs))
    return tuple(points)


def _curve(fit: scaling.Scaling) -> tuple[Point, ...]:
    first, last = int(fit.sizes[0]), int(fit.sizes[-1])
    sizes = sorted({round(size) for size in np.geomspace(first, FARTHEST * last, CURVE)} | {last})
    found = [(size, fit.loss(size)) for size in sizes]
    return tuple(Point(size, one.value, one.low, one.high, ()) for size, one in found)


def _changes(trend: Difference, sizes: Sequence[int]) -> str:
    size = f"{abs(trend.mean):.3f} ± {trend.half_width():.3f}"
    where = f"with each doubling of the tasks, from {sizes[0]} to {sizes[-1]}"
    if trend.p_value() < LEVEL:
        return f"{'falls' if trend.mean < 0 else 'rises'} by {size} {where}"
    return (
        f"cannot tell: {'lower' if trend.mean < 0 else 'higher'} by {size} {where}; a change of"
        f" {trend.detectable():.3f} would have shown"
    )


def refusal(trend: Difference, fit: scaling.Scaling) -> str | None:
    """Return why nothing is predicted from a fit; None if something is.

    Args:
        trend: The change of the loss with each doubling.
        fit: The law.
    """
    if trend.p_value() >= LEVEL or trend.mean > 0:
        return "the loss does not clearly fall"
    if fit.misfit < MISFIT:
        return f"the losses do not follow a saturating power law (p = {fit.misfit:.3f})"
    fallen = -fit.fall(float(fit.sizes[0])).value
    farthest = fit.fall(FARTHEST * float(fit.sizes[-1]))
    if farthest.high - farthest.low > fallen:
        return (
            f"with {FARTHEST} times as many tasks, the loss would fall by another"
            f" {farthest.low:.3f} to {farthest.high:.3f}, which is less certain than the"
            f" {fallen:.3f} that it fell are large; measure more seeds or validation tasks"
        )
    return None


def _predicted(fit: scaling.Scaling) -> str:
    parts = []
    for multiple in MULTIPLES:
        size = multiple * float(fit.sizes[-1])
        fall = fit.fall(size)
        parts.append(f"{fall.value:.3f} ({fall.low:.3f} to {fall.high:.3f}) with {size:.0f} tasks")
    return f"it would fall by another {' and '.join(parts)}"


def _floor(fit: scaling.Scaling) -> str:
    left, exponent = fit.remaining, fit.exponent
    if left is None:
        return "the floor cannot be told from these numbers of tasks"
    return (
        f"the floor is {left.value:.3f} ({left.low:.3f} to {left.high:.3f}) below the last loss,"
        f" with an exponent of {exponent.value:.2f} ({exponent.low:.2f} to {exponent.high:.2f})"
    )
