"""Intervals of shares, and of differences of shares."""

import math
import statistics

import numpy as np


def interval(share: float, number: int, level: float = 0.05) -> tuple[float, float]:
    """Return the interval of a mean of values from 0 to 1 (Wilson 1927).

    It has a width also where all values are 0, or all are 1. Values between them vary less than
    values that are 0 or 1 with the same mean; for such values, the interval is rather too wide.

    Args:
        share: The mean, from 0 to 1.
        number: Number of values, at least 1.
        level: Probability that the interval misses the true mean.
    """
    squared = statistics.NormalDist().inv_cdf(1 - level / 2) ** 2
    center = share + squared / (2 * number)
    spread = math.sqrt(squared * (share * (1 - share) + squared / (4 * number)) / number)
    whole = 1 + squared / number
    return max(0.0, (center - spread) / whole), min(1.0, (center + spread) / whole)


def difference(first: np.ndarray, second: np.ndarray, level: float = 0.05) -> tuple[float, float]:
    """Return the interval of the difference of two paired means (Newcombe 1998).

    It has a width also where no pair differs.

    Args:
        first: Values from 0 to 1, float (pairs,).
        second: The same for the mean that is subtracted.
        level: Probability that the interval misses the true difference.
    """
    mean = first.mean() - second.mean()
    low_1, high_1 = interval(first.mean(), len(first), level)
    low_2, high_2 = interval(second.mean(), len(second), level)
    constant = first.std() == 0 or second.std() == 0
    correlation = 0.0 if constant else np.corrcoef(first, second)[0, 1]

    def distance(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one**2 - 2 * correlation * one * other + other**2))

    below = distance(first.mean() - low_1, high_2 - second.mean())
    above = distance(high_1 - first.mean(), second.mean() - low_2)
    return max(-1.0, float(mean - below)), min(1.0, float(mean + above))
