"""How the train loss, the validation loss and the accuracy of experiments go together."""

import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from arcmix.ledger.records import Row
from arcmix.ledger.verdicts import LOSS
from arcmix.stats import correlation
from arcmix.stats.correlation import Correlation

METRICS: dict[str, Callable[[Row], float | None]] = {
    "train loss": lambda row: row.history[-1]["train_loss"],
    "validation loss": lambda row: row.metrics[LOSS],
    "accuracy": lambda row: row.metrics["accuracy"],
}
"""Name -> what it is in a row."""


@dataclass(frozen=True)
class Pairs:
    """Two metrics of the experiments of a table."""

    first: str
    """Name of the first metric."""
    second: str
    """Name of the second."""
    values: tuple[tuple[float, float], ...]
    """Both values of each experiment, means over its seeds."""
    correlation: Correlation | None
    """The rank correlation; None where the values do not tell."""
    text: str
    """The rank correlation in words."""


def correlations(experiments: Sequence[Sequence[Row]]) -> list[Pairs]:
    """Return the rank correlation of each two of `METRICS`.

    An experiment counts once, with the means over its seeds, because its runs are not independent
    of each other.

    Args:
        experiments: The rows of each experiment, which differ in their seeds alone. All of them
            have the same settings, so that their losses can be compared.
    """
    return [_pairs(experiments, *names) for names in itertools.combinations(METRICS, 2)]


def _pairs(experiments: Sequence[Sequence[Row]], first: str, second: str) -> Pairs:
    means = [(_mean(rows, first), _mean(rows, second)) for rows in experiments]
    values = tuple((one, other) for one, other in means if one is not None and other is not None)
    try:
        found = correlation.spearman([one for one, _ in values], [other for _, other in values])
    except ValueError as error:
        return Pairs(first, second, values, None, f"cannot tell: {error}")
    return Pairs(first, second, values, found, _text(found))


def _mean(rows: Sequence[Row], name: str) -> float | None:
    values = [value for row in rows if (value := METRICS[name](row)) is not None]
    return statistics.fmean(values) if values else None


def _text(found: Correlation) -> str:
    text = f"{found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f}), n = {found.number}"
    return f"cannot tell: {text}" if found.low <= 0 <= found.high else text
