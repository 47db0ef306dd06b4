"""Intervals of shares."""

import math
import statistics


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
