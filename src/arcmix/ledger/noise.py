"""The noise of a result: the standard deviation over runs that differ in one seed alone.

A run has three seeds: `seed` draws its samples and their order, `init_seed` draws the adapter's
initial weights and its dropout, and `partition.seed` draws the validation tasks. Runs with equal
code and values, on machines that are alike, form a group if they differ in one seed. The variances
of the groups are pooled. Groups that have the same values of a seed say the same about its effect,
so they add no degrees of freedom.

If the effects of the three seeds add up, the sum of their variances is that of a run with three
other seeds. The share of a seed is its part of this sum. Few runs say little about it.
"""

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from arcmix.ledger import markdown, records

FACTORS = ("seed", "init_seed", "partition.seed")
"""Names of the three seeds."""


SEEDED = ("partition", "init_seed", "validation_digest")
"""Settings of a row that hold two of the seeds, and a value that follows from them."""


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of a metric over runs that differ in one seed."""

    factor: str
    """The seed, one of `FACTORS`."""
    runs: int
    """Number of runs in groups of two or more runs."""
    groups: int
    """Number of these groups."""
    mean: float | None
    """Mean over the runs; None without a group."""
    deviation: float | None
    """Pooled standard deviation within the groups; None without a group."""
    degrees: int
    """Degrees of freedom of the standard deviation: of each experiment, the number of values of the
    seed less one, or fewer if the runs of its groups have fewer."""


@dataclass(frozen=True)
class Share:
    """The share of a seed in the sum of the variances of the three seeds, and its interval."""

    value: float
    """The share, from 0 to 1."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end."""


def spreads(rows: Sequence[records.Row], metric: str) -> list[Spread]:
    """Return the spread of a metric for each seed.

    Args:
        rows: Rows of the ledger that were made by the same code.
        metric: Name of one of their metrics.
    """
    return [_spread(rows, factor, metric) for factor in FACTORS]


def shares(found: Sequence[Spread], level: float = 0.05) -> list[Share] | None:
    """Return the share of each seed.

    The ratio of its variance to the sum of the others has nearly the distribution of F. The degrees
    of freedom of the sum are those of Satterthwaite (1946).

    Args:
        found: The spread of each seed (`spreads`).
        level: Probability that an interval misses the true share.

    Returns:
        The shares; None if a seed has no spread, or if nothing varies.
    """
    variances = [one.deviation**2 for one in found if one.deviation is not None]
    if len(variances) < len(found) or not any(variances):
        return None
    return [
        _share(variances, [one.degrees for one in found], at, level) for at in range(len(found))
    ]


def _share(variances: Sequence[float], degrees: Sequence[int], at: int, level: float) -> Share:
    others = [*zip(variances, degrees, strict=True)]
    own, free = others.pop(at)
    rest = sum(variance for variance, _ in others)
    if own == 0 or rest == 0:  # as of a score that is 0 in all of a few runs
        return Share(own / (own + rest), 0.0, 1.0)
    of_rest = rest**2 / sum(variance**2 / number for variance, number in others)
    ratio = own / rest
    ends = [ratio / float(stats.f.ppf(end, free, of_rest)) for end in (1 - level / 2, level / 2)]
    return Share(*(one / (1 + one) for one in (ratio, *ends)))


def _spread(rows: Sequence[records.Row], factor: str, metric: str) -> Spread:
    """Return the spread of a metric over the groups of rows that differ in one seed alone.

    Rows with the same three seeds are the same run, so one of them counts: `init_seed` may be given
    as `seed` or as the number that it stands for.
    """
    groups: dict[tuple[str, str], dict[int, float]] = {}
    for row in rows:
        seeds = seeds_of(row)
        own = seeds.pop(factor)
        key = records.fingerprint(_without_seeds(row)), records.fingerprint(seeds)
        groups.setdefault(key, {})[own] = row.metrics[metric]
    found = {key: group for key, group in groups.items() if len(group) > 1}
    if not found:
        return Spread(factor, 0, 0, None, None, 0)
    squares, free, seen = 0.0, Counter[str](), defaultdict[str, set[int]](set)
    for (experiment, _), group in found.items():
        squares += statistics.variance(group.values()) * (len(group) - 1)
        free[experiment] += len(group) - 1
        seen[experiment] |= group.keys()
    values = [value for group in found.values() for value in group.values()]
    return Spread(
        factor,
        len(values),
        len(found),
        statistics.fmean(values),
        (squares / free.total()) ** 0.5,
        sum(min(number, len(seen[one]) - 1) for one, number in free.items()),
    )


def seeds_of(row: records.Row) -> dict[str, int]:
    """Return name -> value of the three seeds of a run (`FACTORS`)."""
    init = row.settings["init_seed"]
    return {
        "seed": row.seed,
        "init_seed": row.seed if init == "seed" else init,
        "partition.seed": row.settings["partition"]["seed"],
    }


def unseeded(row: records.Row) -> dict[str, Any]:
    """Return the settings of a run without its seeds and the values that follow from them."""
    partition = {name: value for name, value in row.settings["partition"].items() if name != "seed"}
    rest = {name: value for name, value in row.settings.items() if name not in SEEDED}
    return rest | {"partition": partition}


def _without_seeds(row: records.Row) -> list[Any]:
    """Return all that makes a run's numbers, without the seeds and the values that they draw."""
    named = (row.dataset, row.model, row.scale, row.code)
    return [named, unseeded(row), row.components, row.start, row.machines]


def as_markdown(rows: Sequence[records.Row], metrics: Sequence[str]) -> str:
    """Return two Markdown tables for each model and scale: standard deviations, shares of variance.

    The first has mean ± standard deviation for each seed. The second has the share of each seed in
    the sum of the variances, with its 95 % interval; it is left out if a seed has no spread.

    Args:
        rows: Rows of the ledger that were made by the same code.
        metrics: Names of the metrics to show, at least one.

    Raises:
        ValueError: If a row lacks a metric, or no two rows differ in one seed alone.
    """
    for row in rows:
        if missing := [name for name in metrics if name not in row.metrics]:
            raise ValueError(
                f"the row {row.name} has no metric {missing}; its noise is to be shown, so remove"
                " the row's file and repeat its run"
            )
    sections: dict[str, list[records.Row]] = {}
    for row in rows:
        sections.setdefault(f"{row.model} at {row.scale}", []).append(row)
    tables = [
        "\n\n".join([f"### {title}", *_tables(members, metrics)]) + "\n"
        for title, members in sorted(sections.items())
        if any(found.groups for found in spreads(members, metrics[0]))
    ]
    if not tables:
        raise ValueError(
            f"no two of {len(rows)} runs of the present code differ in one of the seeds"
            f" {', '.join(FACTORS)} alone; a spread needs two such runs, so run: make noise"
        )
    return "\n".join(tables)


def _tables(rows: Sequence[records.Row], metrics: Sequence[str]) -> list[str]:
    found = [spreads(rows, metric) for metric in metrics]
    names = {"what differs": "<", "groups": ">", "runs": ">"} | dict.fromkeys(metrics, ">")
    deviations = [
        [
            f"`{spread[0].factor}`",
            str(spread[0].groups),
            str(spread[0].runs),
            *(
                "" if one.mean is None else f"{one.mean:.4f} ± {one.deviation:.4f}"
                for one in spread
            ),
        ]
        for spread in zip(*found, strict=True)
    ]
    tables = [markdown.table(names, deviations)]
    parts = {metric: shares(own) for metric, own in zip(metrics, found, strict=True)}
    known = {metric: own for metric, own in parts.items() if own is not None}
    if known:
        names = {"share of the variance": "<"} | dict.fromkeys(known, ">")
        texts = [
            [f"`{factor}`", *map(percent, own)]
            for factor, own in zip(FACTORS, zip(*known.values(), strict=True), strict=True)
        ]
        tables.append(markdown.table(names, texts))
    return tables


def percent(share: Share) -> str:
    """Return a share of the variance as text, with its interval."""
    value, low, high = (f"{100 * one:.0f}" for one in (share.value, share.low, share.high))
    return f"{value} % ({low} to {high})"
