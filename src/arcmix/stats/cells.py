"""Contrasts between the cells of an experimental design, over the same tasks and seeds.

A cell is an experiment that is run with several seeds and measured on several tasks. A contrast is
a weighted sum of the means of the cells, with weights that add up to 0. What all cells have in
common drops out: how hard a task is, and what a seed does to every cell.

The rest is the model of `differences`: effects of seeds, of tasks, and of both. All cells share one
variance of the effects of seeds. Tasks may differ more in one cell than in another, and what a task
does in two cells may be correlated.
"""

from dataclasses import dataclass

import numpy as np

from arcmix.stats.differences import Difference

MIN_SEEDS = 2
"""Smallest number of seeds that says how much they do."""

MIN_TASKS = 3
"""Smallest number of tasks."""


@dataclass(frozen=True)
class Cells:
    """The means of cells, and what says how certain a contrast between them is."""

    means: np.ndarray
    """Mean of each cell over seeds and tasks, float (cells,)."""
    seeds: int
    """Number of seeds."""
    tasks: int
    """Number of tasks."""
    of_seeds: float
    """Variance of the effect of a seed in one cell."""
    degrees: float
    """Degrees of freedom of that estimate."""
    of_tasks: np.ndarray
    """Covariance of the cells' means over seeds, over tasks, without what all cells have in common,
    float (cells, cells)."""
    rest: float
    """Variance of the rest in one cell."""

    def contrast(self, weights: np.ndarray) -> Difference:
        """Return a contrast between the cells.

        Args:
            weights: Weight of each cell, float (cells,); they add up to 0.
        """
        between = float(weights @ self.of_tasks @ weights)
        squared = float(weights @ weights)
        rest = min(squared * self.rest, between * self.seeds)
        return Difference(
            mean=float(weights @ self.means),
            seeds=self.seeds,
            tasks=self.tasks,
            of_seeds=squared * self.of_seeds,
            degrees=self.degrees,
            of_tasks=between - rest / self.seeds,
            rest=rest,
        )

    @property
    def covariance(self) -> np.ndarray:
        """The covariance of the means, without what all cells have in common."""
        seeds = self.of_seeds * np.eye(len(self.means)) / self.seeds
        return seeds + self.of_tasks / self.tasks


def cells(values: np.ndarray) -> Cells:
    """Return the means of cells, and the variances of the effects of seeds and tasks.

    Args:
        values: The value of each cell, seed and task, float (cells, seeds, tasks): 2 cells,
            `MIN_SEEDS` seeds and `MIN_TASKS` tasks at least.

    Raises:
        ValueError: If there are fewer, or a value is not finite.
    """
    count, seeds, tasks = values.shape
    if count < 2 or seeds < MIN_SEEDS or tasks < MIN_TASKS or not np.isfinite(values).all():
        raise ValueError(
            f"{count} cells of {seeds} seeds and {tasks} tasks, with {np.isfinite(values).sum()} of"
            f" {values.size} values finite; a comparison needs 2 cells, {MIN_SEEDS}"
            f" seeds, {MIN_TASKS} tasks and finite values, so run more of them"
        )
    apart = values - values.mean(axis=0)
    by_seed = apart.mean(axis=2, keepdims=True)
    by_task = apart.mean(axis=1, keepdims=True)
    mean = apart.mean(axis=(1, 2), keepdims=True)
    degrees = (count - 1) * (seeds - 1)
    rest = ((apart - by_seed - by_task + mean) ** 2).sum() / (degrees * (tasks - 1))
    between = ((by_seed - mean) ** 2).sum() / degrees
    return Cells(
        means=values.mean(axis=(1, 2)),
        seeds=seeds,
        tasks=tasks,
        of_seeds=max(0.0, float(between - rest / tasks)),
        degrees=degrees,
        of_tasks=np.cov(by_task[:, 0]),
        rest=float(rest),
    )
