"""Mean differences of experiments from a baseline over tasks and seeds, and how certain they are.

Tasks and seeds are samples: other ones would give another mean. The difference of seed s and task t
is modelled as mean + effect of s + effect of t + rest, a two-way layout with random effects and one
value a cell. Its mean squares estimate the variances.

Two or three seeds say little about their variance. So the experiments of a table share one estimate
of it. It has fewer degrees of freedom than their seeds together, because all of them are compared
with one baseline: the correlation of their estimates is 1/4. The variance of a mean has a part of
the seeds and one of the tasks. The quantile is the mean of Student's quantiles of both parts,
weighted with the parts (Cochran 1964).

docs/metrics.md has a simulation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

LEVEL = 0.05
"""Probability of an interval that misses the truth, and of a table with a false finding."""

POWER = 0.8
"""Probability with which a detectable difference is found."""

SHARED = 0.25
"""Correlation of the variances of two differences from the same baseline."""

MOST_SEEDS = 100
"""Largest number of seeds that is proposed."""

SMALLEST = 1e-12
"""Smallest p-value that is told apart from 0."""


@dataclass(frozen=True)
class Difference:
    """The mean difference of an experiment from a baseline, in the unit of the values."""

    mean: float
    """The mean over seeds and tasks."""
    seeds: int
    """Number of seeds."""
    tasks: int
    """Number of tasks."""
    of_seeds: float
    """Variance of the effect of a seed, an estimate from all experiments of the table."""
    degrees: float
    """Degrees of freedom of that estimate."""
    of_tasks: float
    """Variance of the effect of a task."""
    rest: float
    """Variance of the rest."""

    def half_width(self, level: float = LEVEL, seeds: int | None = None) -> float:
        """Return half of the width of the interval around the mean.

        Args:
            level: Probability that the interval misses the true mean.
            seeds: Number of seeds, if it is not that of this comparison: what to expect of it.
        """
        seeds = seeds or self.seeds
        parts = np.array([self.of_seeds / seeds, (self.of_tasks + self.rest / seeds) / self.tasks])
        if not (variance := parts.sum()):
            return 0.0
        degrees = [self.degrees * max(1, seeds - 1) / max(1, self.seeds - 1), self.tasks - 1]
        quantiles = -special.stdtrit(degrees, level / 2)
        return float(quantiles @ parts) / math.sqrt(variance)

    def p_value(self) -> float:
        """Return the probability of a mean at least as far from 0 if the true one is 0."""
        distance = abs(self.mean)
        if distance == 0:
            return 1.0
        if distance >= self.half_width(SMALLEST):
            return 0.0
        found = optimize.root_scalar(
            lambda level: self.half_width(level) - distance, bracket=(SMALLEST, 1.0)
        )
        return float(found.root)

    def detectable(self, level: float = LEVEL) -> float:
        """Return the true difference that would be found with a probability of about `POWER`.

        Args:
            level: Probability of a finding where there is no difference.
        """
        return self.half_width(level) + self.half_width(2 * (1 - POWER))

    def seeds_needed(self, level: float = LEVEL) -> int | None:
        """Return the number of seeds with which this mean would be a finding.

        None if `MOST_SEEDS` would not do; then only more tasks help.

        Args:
            level: Probability of a finding where there is no difference.
        """
        numbers = range(self.seeds, MOST_SEEDS + 1)
        return next((n for n in numbers if abs(self.mean) > self.half_width(level, n)), None)


def differences(values: Sequence[np.ndarray]) -> list[Difference]:
    """Return the mean difference of each experiment of a table from the baseline.

    Args:
        values: For each experiment, the difference of each seed and each task, float (seeds,
            tasks). One experiment at least has 2 seeds, and each has 2 tasks.

    Raises:
        ValueError: If there are fewer seeds or tasks, or a value is not finite.
    """
    for one in values:
        if one.shape[0] < 1 or one.shape[1] < 2 or not np.isfinite(one).all():
            raise ValueError(
                f"differences of {one.shape[0]} seeds and {one.shape[1]} tasks, of which"
                f" {np.isfinite(one).sum()} are finite; a comparison needs a seed, 2 tasks and"
                " finite values"
            )
    repeated = [one for one in values if len(one) > 1]
    if not repeated:
        raise ValueError("each experiment has 1 seed; the variance of the seeds needs 2 seeds")
    free = sum(len(one) - 1 for one in repeated)
    # The part of the rest in the spread of the seeds is taken out, on average over the experiments.
    of_seeds = sum(
        (len(one) - 1) * (one.mean(axis=1).var(ddof=1) - _rest(one) / one.shape[1])
        for one in repeated
    )
    degrees = shared_degrees([len(one) for one in repeated])
    rest = sum((len(one) - 1) * _rest(one) for one in repeated) / free
    return [_difference(one, max(0.0, of_seeds / free), degrees, rest) for one in values]


def shared_degrees(seeds: Sequence[int]) -> float:
    """Return the degrees of freedom of the variance of the seeds that experiments share.

    Args:
        seeds: Number of seeds of each experiment, at least 2.
    """
    return sum(number - 1 for number in seeds) / (1 + SHARED * (len(seeds) - 1))


def _difference(values: np.ndarray, of_seeds: float, degrees: float, rest: float) -> Difference:
    seeds, tasks = values.shape
    between = float(values.mean(axis=0).var(ddof=1))
    # The variance of the mean by its tasks is that of the observed means of the tasks.
    rest = min(rest, between * seeds)
    return Difference(
        mean=float(values.mean()),
        seeds=seeds,
        tasks=tasks,
        of_seeds=float(of_seeds),
        degrees=degrees,
        of_tasks=between - rest / seeds,
        rest=rest,
    )


def _rest(values: np.ndarray) -> float:
    """Return the variance that neither seeds nor tasks explain."""
    seeds, tasks = values.shape
    means = values.mean(axis=1, keepdims=True) + values.mean(axis=0) - values.mean()
    return float(((values - means) ** 2).sum() / ((seeds - 1) * (tasks - 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that are adjusted for their number (Holm 1979).

    If those below a level are called findings, the probability of a false one among them is at most
    that level.

    Args:
        p_values: The p-value of each comparison.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.maximum.accumulate(np.asarray(p_values)[order] * factors)
    found = np.empty(len(p_values))
    found[order] = np.minimum(adjusted, 1.0)
    return found.tolist()
