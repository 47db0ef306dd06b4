"""How often the intervals of `stats.scaling` cover the truth, beside those of a bootstrap.

    python -m benchmarks.scaling --studies 400 --bootstraps 100

Simulates studies of a known law: losses with 70, 140, 350 and 700 training tasks, with some seeds
each, on random validation tasks. Prints Markdown: the share of studies whose interval covers the
true fall of the loss at 2 and at 4 times the largest number; the same among the studies that
predict, with their share; the share of intervals of the trend that cover; the share of studies
whose losses are said not to follow the law; and the coverage of a bootstrap over tasks and seeds.
"""

import argparse
import itertools
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from arcmix import randomness
from arcmix.ledger.scaling import MISFIT, MULTIPLES, refusal
from arcmix.stats import cells, scaling
from benchmarks.coverage import SKEW, normal

SIZES = (70, 140, 350, 700)
"""Numbers of training tasks: 10, 20, 50 and 100 % of those of new-train."""

LEVEL_SD = 0.44
"""Standard deviation of the losses of the tasks, in nats per cell, as in the row of combo-v2."""

COMMON_SD = 0.02
"""Standard deviation of what a seed does at all sizes."""

REST_SD = 0.03
"""Standard deviation of what a task does at one size, and of the rest."""

RESAMPLES = 200
"""Number of resamples of a bootstrap."""


@dataclass(frozen=True)
class Setting:
    """A kind of studies."""

    seeds: int
    """Number of seeds."""
    tasks: int
    """Number of validation tasks."""
    exponent: float
    """Exponent of the law."""
    fallen: float
    """Fall of the loss from the smallest to the largest size, in nats per cell. The fall on a task
    has this mean, and the same standard deviation."""
    of_seeds: float
    """Standard deviation of what a seed does at one size."""
    heavy: bool
    """Whether the falls on the tasks have heavy tails."""

    def fall(self, ratio: np.ndarray | float) -> np.ndarray:
        """Return the true fall from the largest size to a multiple of it."""
        whole = (SIZES[0] / SIZES[-1]) ** -self.exponent - 1
        return self.fallen / whole * (1 - np.asarray(ratio) ** -self.exponent)


@dataclass(frozen=True)
class Rates:
    """What was right and wrong in studies of one kind, as shares; empty shares are NaN."""

    covered: np.ndarray
    """Intervals that cover the true fall, for each of `MULTIPLES`."""
    predicted: float
    """Studies that predict."""
    covered_of_these: np.ndarray
    """Intervals of these studies that cover."""
    trend: float
    """Intervals of the trend that cover."""
    misfit: float
    """Studies whose losses are said not to follow the law."""
    bootstrap: np.ndarray
    """Intervals of the bootstrap that cover."""
    width: np.ndarray
    """Mean width of the intervals, in nats per cell."""
    bootstrap_width: np.ndarray
    """The same of the bootstrap."""


def study(index: int, setting: Setting) -> np.ndarray:
    """Return losses, float (sizes, seeds, tasks).

    Args:
        index: Number of the study; it draws everything.
        setting: The kind of study.
    """
    shape = len(SIZES), setting.seeds, setting.tasks
    drawn = normal("fall", index, 1, 1, setting.tasks)
    own = 1 + (np.sinh(drawn) / SKEW if setting.heavy else drawn)
    fallen = -setting.fall(np.array(SIZES) / SIZES[-1])[:, None, None]
    return (
        0.8
        + LEVEL_SD * normal("level", index, 1, 1, setting.tasks)
        + fallen * own
        + setting.of_seeds * normal("scaling seeds", index, *shape[:2], 1)
        + COMMON_SD * normal("common", index, 1, shape[1], 1)
        + REST_SD * normal("size", index, shape[0], 1, shape[2])
        + REST_SD * normal("scaling rest", index, *shape)
    )


def bootstrap(index: int, values: np.ndarray) -> np.ndarray:
    """Return the percentile intervals of a bootstrap of the fit, float (multiples, 2).

    The tasks are resampled, and the seeds of each size. The deviations of the seeds are widened for
    their small number. The weights of the fit are those of the whole study.

    Args:
        index: Number of the study; it draws the resamples.
        values: The losses, float (sizes, seeds, tasks).
    """
    sizes, seeds, tasks = values.shape
    words = randomness.words(0, "scaling/bootstrap", index * RESAMPLES, RESAMPLES, tasks + 64)
    chosen = randomness.below(words[:, :tasks], tasks)
    means = values.mean(axis=1)[:, chosen].mean(axis=2)
    runs = values.mean(axis=2)
    picked = randomness.below(words[:, tasks : tasks + sizes * seeds], seeds)
    picked = picked.reshape(RESAMPLES, sizes, seeds)
    resampled = np.take_along_axis(runs[None], picked, axis=2).mean(axis=2)
    wider = (seeds / (seeds - 1)) ** 0.5
    losses = means.T + wider * (resampled - runs.mean(axis=1))
    basis = linalg.helmert(sizes).T
    root = linalg.cholesky(basis.T @ cells.cells(values).covariance @ basis, lower=True)
    ratios = np.array(SIZES) / SIZES[-1]
    shapes = -scaling.gains(ratios[:, None], scaling.EXPONENTS)
    curves = linalg.solve_triangular(root, basis.T @ shapes, lower=True)
    products = linalg.solve_triangular(root, basis.T @ losses.T, lower=True).T @ curves
    squares = (curves**2).sum(axis=0)
    slopes = np.maximum(0, products / squares)
    best = (squares * slopes**2 - 2 * products * slopes).argmin(axis=1)
    slope, exponent = slopes[np.arange(RESAMPLES), best], scaling.EXPONENTS[best]
    falls = [slope * scaling.gains(multiple, exponent) for multiple in MULTIPLES]
    return np.quantile(falls, [0.025, 0.975], axis=1).T


def rates(studies: int, bootstraps: int, setting: Setting) -> Rates:
    """Return how often intervals are right.

    Args:
        studies: Number of studies.
        bootstraps: Number of these that are bootstrapped too, at least 1.
        setting: Their kind.
    """
    truths = setting.fall(np.array(MULTIPLES))
    weights = scaling.slope_weights(SIZES)
    slope = float(weights @ -setting.fall(np.array(SIZES) / SIZES[-1]))
    covered, predicted, trends, misfits, resampled = [], [], [], [], []
    widths, resampled_widths = [], []
    for index in range(studies):
        values = study(index, setting)
        measured = cells.cells(values)
        trend = scaling.trend(SIZES, measured)
        fit = scaling.fit(SIZES, measured)
        ends = [fit.fall(multiple * SIZES[-1]) for multiple in MULTIPLES]
        covered.append(
            [one.low <= true <= one.high for one, true in zip(ends, truths, strict=True)]
        )
        widths.append([one.high - one.low for one in ends])
        predicted.append(refusal(trend, fit) is None)
        trends.append(abs(trend.mean - slope) <= trend.half_width())
        misfits.append(fit.misfit < MISFIT)
        if index < bootstraps:
            low, high = bootstrap(index, values).T
            resampled.append((low <= truths) & (truths <= high))
            resampled_widths.append(high - low)
    return Rates(
        np.mean(covered, axis=0),
        float(np.mean(predicted)),
        np.array(covered)[predicted].mean(axis=0) if any(predicted) else np.full(2, np.nan),
        float(np.mean(trends)),
        float(np.mean(misfits)),
        np.mean(resampled, axis=0),
        np.mean(widths, axis=0),
        np.mean(resampled_widths, axis=0),
    )


def main() -> None:
    """Print the rates of all settings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--bootstraps", type=int, default=100)
    flags = parser.parse_args()
    print("| seeds | tasks | exponent | fallen | sd of seeds | falls | 2x | 4x | predict |", end="")
    print(" 2x of these | 4x of these | trend | misfit | bootstrap, 2x | bootstrap, 4x |", end="")
    print(" widths | bootstrap, widths |")
    print("| ---: | ---: | ---: | ---: | ---: | --- |" + " ---: |" * 11)
    for seeds, tasks, exponent, fallen, of_seeds, heavy in itertools.product(
        (3, 5), (24, 100), (0.1, 0.5, 1.0), (0.06, 0.2), (0.003, 0.015), (False, True)
    ):
        setting = Setting(seeds, tasks, exponent, fallen, of_seeds, heavy)
        found = rates(flags.studies, flags.bootstraps, setting)
        shares = (
            *found.covered,
            found.predicted,
            *found.covered_of_these,
            *(found.trend, found.misfit),
            *found.bootstrap,
        )
        text = " | ".join(f"{100 * one:.1f} %" for one in shares)
        widths = " | ".join(
            ", ".join(f"{one:.3f}" for one in own) for own in (found.width, found.bootstrap_width)
        )
        kind = "heavy tails" if heavy else "normal"
        print(
            f"| {seeds} | {tasks} | {exponent} | {fallen} | {of_seeds} | {kind} | {text}"
            f" | {widths} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
