"""How much of a result is chance: the spread of runs that differ in one seed only.

A run has three: the `seed` of its samples and their order, the `init_seed` of its adapter's
start and dropout, and `partition.seed`, which draws the validation tasks. Runs of equal code
and values that differ in one of them are a group; the variances of its groups are pooled.
"""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from arcmix.ledger import markdown, records

FACTORS = ("seed", "init_seed", "partition.seed")
"""What a run's chance comes from, by the name of its seed."""


@dataclass(frozen=True)
class Spread:
    """The runs that differ in one seed."""

    factor: str
    """One of `FACTORS`."""
    runs: int
    """Runs in groups of two or more."""
    groups: int
    """Such groups."""
    mean: float | None
    """Mean over these runs; None without a group."""
    deviation: float | None
    """Pooled standard deviation inside the groups; None without a group."""


def spreads(rows: Sequence[records.Row], metric: str) -> list[Spread]:
    """Return the spread of a metric by each seed, of rows of one code.

    Args:
        rows: Rows of the ledger.
        metric: A name in their metrics.
    """
    return [
        _spread(factor, _groups(rows, factor), lambda row: row.metrics[metric])
        for factor in FACTORS
    ]


def _spread(
    factor: str, groups: Iterable[list[records.Row]], value: Callable[[records.Row], float]
) -> Spread:
    found = [[value(row) for row in group] for group in groups if len(group) > 1]
    if not found:
        return Spread(factor, 0, 0, None, None)
    values = [one for group in found for one in group]
    squares = sum(statistics.variance(group) * (len(group) - 1) for group in found)
    deviation = (squares / (len(values) - len(found))) ** 0.5
    return Spread(factor, len(values), len(found), statistics.fmean(values), deviation)


def _groups(rows: Sequence[records.Row], factor: str) -> list[list[records.Row]]:
    groups: dict[str, list[records.Row]] = {}
    for row in rows:
        seeds = seeds_of(row)
        others = {name: seed for name, seed in seeds.items() if name != factor}
        groups.setdefault(records.fingerprint(_rest(row), others), []).append(row)
    return [*groups.values()]


def seeds_of(row: records.Row) -> dict[str, int]:
    """Return the three seeds of a run, by the names of `FACTORS`."""
    init = row.settings["init_seed"]
    return {
        "seed": row.seed,
        "init_seed": row.seed if init == "seed" else init,
        "partition.seed": row.settings["partition"]["seed"],
    }


def _rest(row: records.Row) -> list[Any]:
    """Return what a run is made of but for its seeds and what follows from them."""
    partition = {name: value for name, value in row.settings["partition"].items() if name != "seed"}
    left_out = ("partition", "init_seed", "validation_digest")
    settings = {name: value for name, value in row.settings.items() if name not in left_out}
    named = (row.dataset, row.model, row.scale, row.code)
    return [named, partition, settings, row.components, row.start]


def as_markdown(rows: Sequence[records.Row], metrics: Sequence[str]) -> str:
    """Return a table for each model at a scale: mean ± standard deviation, a line a seed.

    Raises:
        ValueError: If no two rows differ in one seed alone.
    """
    sections: dict[str, list[records.Row]] = {}
    for row in rows:
        sections.setdefault(f"{row.model} at {row.scale}", []).append(row)
    tables = [
        f"### {title}\n\n{_table(members, metrics)}"
        for title, members in sorted(sections.items())
        if any(found.groups for found in spreads(members, metrics[0]))
    ]
    if not tables:
        raise ValueError(
            f"no two of {len(rows)} runs of the present code differ in one of the seeds"
            f" {', '.join(FACTORS)} and in nothing else; run: make noise"
        )
    return "\n".join(tables)


def _table(rows: Sequence[records.Row], metrics: Sequence[str]) -> str:
    names = {"what differs": "<", "groups": ">", "runs": ">"} | dict.fromkeys(metrics, ">")
    found = [
        [
            f"`{spread[0].factor}`",
            str(spread[0].groups),
            str(spread[0].runs),
            *(
                "" if one.mean is None else f"{one.mean:.4f} ± {one.deviation:.4f}"
                for one in spread
            ),
        ]
        for spread in zip(*(spreads(rows, metric) for metric in metrics), strict=True)
    ]
    return markdown.table(names, found) + "\n"
