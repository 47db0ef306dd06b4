"""Rank correlations and their intervals."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

MIN_NUMBER = 10
"""Smallest number of pairs with an interval; with fewer, nearly any correlation is possible."""


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation, with its interval."""

    value: float
    """The correlation, from -1 to 1."""
    low: float
    """The lower end of the interval."""
    high: float
    """The upper end."""
    number: int
    """Number of pairs."""


def spearman(first: Sequence[float], second: Sequence[float], level: float = 0.05) -> Correlation:
    """Return the rank correlation of pairs that are independent of each other.

    The interval is that of Fisher's z with the variance of Bonett and Wright (2000).

    Args:
        first: The first value of each pair.
        second: The second value of each pair.
        level: Probability that the interval misses the true correlation.

    Raises:
        ValueError: If there are fewer than `MIN_NUMBER` pairs, or all values of one metric are
            equal.
    """
    number = len(first)
    if number < MIN_NUMBER:
        raise ValueError(f"{number} pairs; a rank correlation needs {MIN_NUMBER} or more")
    if min(len({*first}), len({*second})) == 1:
        raise ValueError(
            f"all {number} values of one metric are equal; a rank correlation needs different ones"
        )
    value = float(np.corrcoef(stats.rankdata(first), stats.rankdata(second))[0, 1])
    if math.isclose(abs(value), 1):
        full = math.copysign(1.0, value)
        return Correlation(full, full, full, number)
    deviation = math.sqrt((1 + value**2 / 2) / (number - 3))
    half = statistics.NormalDist().inv_cdf(1 - level / 2) * deviation
    center = math.atanh(value)
    return Correlation(value, math.tanh(center - half), math.tanh(center + half), number)
