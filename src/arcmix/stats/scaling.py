"""How the loss falls with the number of training tasks: a saturating power law, and its intervals.

    loss(n) = floor + scale · n^(-exponent)

With N, the largest number that was measured, and the loss there, this is the same as

    loss(n) = loss(N) + slope · ((n / N)^(-exponent) - 1) / exponent

An exponent of 0 is a fall by the same amount with each doubling, without a floor. For a given
exponent, the law is linear in the other two parameters. So the fit computes the best slope for each
exponent of a grid, and finds the best curve without a start value.

The fit is one of generalized least squares to the contrasts between the sizes (`cells`). How hard
the tasks are, and what a seed does at all sizes, drops out. So the fit is certain of a fall, not of
the level of the losses.

An interval holds the values of all curves whose weighted sum of squares is near the least one
(a profile likelihood). docs/metrics.md compares it with a bootstrap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg, special, stats

from arcmix.stats.cells import Cells
from arcmix.stats.differences import LEVEL, Difference

MIN_SIZES = 3
"""Smallest number of sizes for the three parameters of the law."""

FARTHEST = 4
"""Largest size that is predicted, as a multiple of the largest one that was measured."""

EXPONENTS = np.linspace(0, 2, 201)
"""Exponents that the fit tries."""


@dataclass(frozen=True)
class Estimate:
    """A value with its interval of the level `LEVEL`."""

    value: float
    """The value of the best curve."""
    low: float
    """The lower end."""
    high: float
    """The upper end."""


@dataclass(frozen=True)
class Scaling:
    """A fit of the law."""

    sizes: np.ndarray
    """Numbers of training tasks, ascending, float (sizes,)."""
    cells: Cells
    """The losses at these sizes."""
    slopes: np.ndarray
    """Best slope for each exponent, which may be negative, float (exponents,)."""
    information: np.ndarray
    """Inverse of the variance of each slope."""
    squares: np.ndarray
    """Weighted sum of squares of the curve with that slope."""
    best: int
    """Index of the exponent of the best curve. Its slope is not negative."""
    parts: np.ndarray
    """Variance of the best slope by the seeds and by the tasks, float (2,)."""

    @property
    def slope(self) -> float:
        """The slope of the best curve at the largest size, in nats per e-fold of the size."""
        return max(0.0, float(self.slopes[self.best]))

    @property
    def level(self) -> float:
        """The loss of the best curve at the largest size."""
        shape = -gains(self.sizes / self.sizes[-1], EXPONENTS[self.best])
        return float((self.cells.means - self.slope * shape).mean())

    @property
    def exponent(self) -> Estimate:
        """The exponent."""
        inside = EXPONENTS[self._near()[0]]
        return Estimate(float(EXPONENTS[self.best]), float(inside[0]), float(inside[-1]))

    @property
    def identified(self) -> bool:
        """Whether the interval of the exponent is within those that were tried.

        If it is not, the losses fit a curve without a floor, or one that has reached its floor.
        """
        exponent = self.exponent
        return EXPONENTS[0] < exponent.low and exponent.high < EXPONENTS[-1]

    @property
    def remaining(self) -> Estimate | None:
        """The loss at the largest size minus the floor: all that more tasks could bring.

        None if the exponent is not identified.
        """
        if not self.identified:
            return None
        without = np.full(len(EXPONENTS), np.inf)
        return self._estimate(np.divide(1.0, EXPONENTS, out=without, where=EXPONENTS > 0))

    @property
    def misfit(self) -> float:
        """The p-value of the law: the probability of losses at least as far from a curve.

        It is 1 for `MIN_SIZES` sizes.
        """
        free = len(self.sizes) - MIN_SIZES
        if free == 0:
            return 1.0
        # The distribution of Hotelling, with the smaller number of degrees of freedom.
        degrees = min(self.cells.degrees, self.cells.tasks - 1)
        left = max(1.0, degrees - free + 1)
        return float(stats.f.sf(self._least() * left / (degrees * free), free, left))

    def fall(self, size: float) -> Estimate:
        """Return by how much the loss is lower with another number of tasks than with the largest.

        It is negative for a smaller number. The interval is for the mean over seeds and tasks of
        the kind that was measured.

        Raises:
            ValueError: If the size is not positive or above `FARTHEST` times the largest one.
        """
        if not 0 < size <= FARTHEST * self.sizes[-1]:
            raise ValueError(
                f"cannot predict the loss with {size:g} training tasks from up to"
                f" {self.sizes[-1]:g}; a prediction is for up to {FARTHEST} times as many, so"
                f" choose {FARTHEST * self.sizes[-1]:g} or fewer, or measure more"
            )
        return self._estimate(gains(size / self.sizes[-1], EXPONENTS))

    def loss(self, size: float) -> Estimate:
        """Return the loss of the best curve, with the interval of the fall (`fall`).

        The interval is that of a band around the curve. It does not cover the level of the losses,
        which is the same at all sizes, so it has no width at the largest size.

        Raises:
            ValueError: If `fall` refuses the size.
        """
        fall = self.fall(size)
        return Estimate(self.level - fall.value, self.level - fall.high, self.level - fall.low)

    def _estimate(self, gains: np.ndarray) -> Estimate:
        """Return an estimate of slope · gain, with the gain for each exponent."""
        near, width = self._near()
        low = np.maximum(0.0, self.slopes - width)[near] * gains[near]
        high = (self.slopes + width)[near] * gains[near]
        ends = np.concatenate([low, high])
        return Estimate(self.slope * float(gains[self.best]), float(ends.min()), float(ends.max()))

    def _near(self) -> tuple[np.ndarray, np.ndarray]:
        """Return which exponents have curves in the interval, and the half-widths of the slopes."""
        left = self._least() + self._limit() - self.squares
        width = np.sqrt(np.maximum(0.0, left) / self.information)
        return (left >= 0) & (self.slopes + width >= 0), width

    def _least(self) -> float:
        """Return the sum of squares of the best curve."""
        clipped = self.slope - self.slopes[self.best]
        return float(self.squares[self.best] + self.information[self.best] * clipped**2)

    def _limit(self) -> float:
        """Return how far the sum of squares of a curve in the interval is from the least one."""
        degrees = [self.cells.degrees, self.cells.tasks - 1]
        quantile = -special.stdtrit(degrees, LEVEL / 2) @ self.parts / self.parts.sum()
        # The weights of the fit are estimates over tasks (Rao 1959).
        tasks = self.cells.tasks - 1
        free = len(self.sizes) - MIN_SIZES
        return float(quantile**2 * (1 + self._least() / tasks) * tasks / (tasks - free))


def trend(sizes: Sequence[float], cells: Cells) -> Difference:
    """Return by how much the loss rises with each doubling of the number of training tasks.

    That is the slope of a straight line over the logarithm of the number.

    Args:
        sizes: The number of each cell, at least 2 different ones.
        cells: The losses.
    """
    return cells.contrast(slope_weights(sizes))


def slope_weights(sizes: Sequence[float]) -> np.ndarray:
    """Return the weights of the contrast for the slope by doubling, float (sizes,)."""
    doublings = np.log2(sizes)
    apart = doublings - doublings.mean()
    return apart / (apart @ apart)


def fit(sizes: Sequence[float], cells: Cells) -> Scaling:
    """Fit the law.

    Args:
        sizes: Numbers of training tasks, ascending, one for each cell.
        cells: The losses.

    Raises:
        ValueError: If there are fewer than `MIN_SIZES` sizes, not more tasks than sizes, or if the
            losses do not vary over seeds and tasks.
    """
    numbers = np.asarray(sizes, dtype=float)
    if len(numbers) < MIN_SIZES or not (np.diff(numbers) > 0).all() or numbers[0] <= 0:
        raise ValueError(
            f"the numbers of training tasks are {[*sizes]}; the law has three parameters, so"
            f" measure {MIN_SIZES} different numbers or more, ascending"
        )
    if cells.tasks <= len(numbers):
        raise ValueError(
            f"{cells.tasks} validation tasks for {len(numbers)} numbers of training tasks; the"
            f" weights of the fit need {len(numbers) + 1} or more"
        )
    basis = linalg.helmert(len(numbers)).T
    try:
        root = linalg.cholesky(basis.T @ cells.covariance @ basis, lower=True)
    except linalg.LinAlgError as error:
        raise ValueError(
            f"the losses with {[*sizes]} training tasks do not vary over seeds and validation"
            " tasks, so nothing says how certain a curve is; measure more of both"
        ) from error
    shapes = -gains(numbers[:, None] / numbers[-1], EXPONENTS)
    curves = linalg.solve_triangular(root, basis.T @ shapes, lower=True)
    losses = linalg.solve_triangular(root, basis.T @ cells.means, lower=True)
    information = (curves**2).sum(axis=0)
    slopes = losses @ curves / information
    squares = losses @ losses - information * slopes**2
    allowed = squares + information * np.minimum(0.0, slopes) ** 2
    best = int(allowed.argmin())
    weights = basis @ linalg.solve_triangular(root, curves[:, best], lower=True, trans=1)
    weights /= information[best]
    parts = np.array(
        [
            cells.of_seeds * (weights @ weights) / cells.seeds,
            weights @ cells.of_tasks @ weights / cells.tasks,
        ]
    )
    return Scaling(numbers, cells, slopes, information, squares, best, parts)


def gains(ratios: np.ndarray | float, exponents: np.ndarray) -> np.ndarray:
    """Return the falls of curves of slope 1 from the size 1 to other sizes.

    Args:
        ratios: The other sizes.
        exponents: The exponents of the curves, of a shape that goes with that of the sizes.
    """
    return special.boxcox(ratios, -np.asarray(exponents))
