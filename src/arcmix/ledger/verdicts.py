"""Verdicts: whether an experiment of the table is better or worse than its baseline.

The loss of a run on a task is that of the models that answer, in nats per cell of the right
answers, so it does not depend on how a grid is encoded. Two experiments are compared task by task
and seed by seed, on the tasks and seeds that both have (`stats.differences`). Their scores are
compared in the same way, but no verdict is drawn from them: with few solved tasks, they say less
than the loss.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from arcmix.ledger import subsets
from arcmix.ledger.records import Row
from arcmix.stats import differences, shares
from arcmix.stats.differences import LEVEL, Difference

LOSS = "answering_loss_per_cell"
"""The metric of a task that is compared; a lower one is better."""

SCORES = ("accuracy", "pass_n", "selected_2")
"""Metrics of a task that are compared beside the loss; a higher one is better."""

MIN_SEEDS = 2
"""Number of seeds that one experiment of a table at least has in common with the baseline."""


Kind = Literal["better", "worse", "unclear"]
"""What a difference from the baseline is."""

KINDS: Mapping[Kind, str] = {
    "better": "better",
    "worse": "worse",
    "unclear": "not certain",
}
"""Kind of a difference -> its name in texts."""


@dataclass(frozen=True)
class Verdict:
    """What the difference of an experiment from its baseline says."""

    text: str
    """The verdict in words."""
    difference: Difference | None = None
    """The difference from the baseline, in nats per cell; None where nothing can be compared."""
    p_value: float | None = None
    """The p-value of the difference, adjusted for the number of comparisons of the table."""
    scores: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    """Score -> its difference from the baseline, with the ends of the 95 % interval; empty where
    nothing can be compared."""

    @property
    def kind(self) -> Kind | None:
        """What the difference is; None where nothing can be compared."""
        if self.difference is None or self.p_value is None:
            return None
        if self.p_value >= LEVEL:
            return "unclear"
        return "better" if self.difference.mean < 0 else "worse"


NONE = Verdict("")
"""Stands for the verdict on a line before it is compared."""

BASELINE = Verdict("baseline")
"""Stands for the verdict on the baseline itself."""


def verdicts(
    experiments: Sequence[Sequence[Row]], names: Sequence[str], baselines: Sequence[str]
) -> list[Verdict]:
    """Return the verdict on each experiment of a table.

    The baseline of the table is the first of `baselines` that is the name of an experiment. If it
    is the name of several, the baseline is the one whose dataset uses its tables in full; unless
    exactly one does, there is no baseline.

    Args:
        experiments: The rows of each experiment, which differ in their seeds alone.
        names: The name of each experiment; several definitions of a dataset have the same name.
        baselines: Names of experiments, the preferred one first.
    """
    baseline = next((name for name in baselines if name in names), None)
    if baseline is None:
        missing = Verdict(f"no baseline: none of {', '.join(baselines)} is here")
        return [missing] * len(experiments)
    places = [at for at, name in enumerate(names) if name == baseline]
    if len(places) > 1:
        whole = subsets.whole(experiments[at][0] for at in places)
        places = [at for at in places if experiments[at][0] is whole]
    if not places:
        several = Verdict(
            f"no baseline: {names.count(baseline)} lines are named {baseline}, so give each"
            " definition a name in datasets, or set ablation.baseline to another dataset"
        )
        return [several] * len(experiments)
    (place,) = places
    runs = [_common(rows, experiments[place]) for rows in experiments]
    paired = [_paired(pairs, LOSS) for pairs in runs]
    able = [at for at, one in enumerate(paired) if at != place and len(one) and one.shape[1] > 1]
    if all(len(paired[at]) < MIN_SEEDS for at in able):
        able = []  # nothing says how much the seeds do
    measured = differences.differences([paired[at] for at in able]) if able else []
    adjusted = differences.holm([one.p_value() for one in measured])
    scores = _scores([runs[at] for at in able])
    found = {
        at: Verdict(_text(one, p_value, len(able)), one, p_value, compared)
        for at, one, p_value, compared in zip(able, measured, adjusted, scores, strict=True)
    }
    found[place] = BASELINE
    return [found.get(at) or _incomparable(one) for at, one in enumerate(paired)]


def pairs(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Return each second run of one experiment with the run before it."""
    return [*zip(rows[1::2], rows[::2], strict=False)]


def chance(rows: Sequence[Row]) -> Difference | None:
    """Return the difference of each second run of one experiment from the run before it (`pairs`).

    It is that of two experiments that do not differ: of chance alone. None if there are fewer than
    2 pairs of runs, or fewer than 2 tasks.

    Args:
        rows: The runs, which differ in their seeds alone.
    """
    paired = _paired(pairs(rows), LOSS)
    seeds, tasks = paired.shape
    return differences.differences([paired])[0] if seeds >= MIN_SEEDS and tasks > 1 else None


def _incomparable(paired: np.ndarray) -> Verdict:
    seeds, tasks = paired.shape
    return Verdict(
        f"cannot tell: seeds in common with the baseline: {seeds}, tasks: {tasks}; run both with"
        f" {MIN_SEEDS} seeds or more"
    )


def _common(rows: Sequence[Row], baseline: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Return the runs of both experiments that have the same seed."""
    theirs = {row.seed: row for row in baseline}
    return [(row, theirs[row.seed]) for row in rows if row.seed in theirs]


def _paired(runs: Sequence[tuple[Row, Row]], metric: str) -> np.ndarray:
    """Return the differences of a metric on the tasks that all runs have, (pairs, tasks)."""
    first, second = _values(runs, metric)
    return first - second


def _values(runs: Sequence[tuple[Row, Row]], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a metric of both runs of each pair on the tasks that all have, (pairs, tasks)."""
    found = [[_by_task(row, metric) for row in pair] for pair in runs]
    tasks = sorted(set.intersection(*({*one} for pair in found for one in pair)) if runs else ())
    values = [[[one[task] for task in tasks] for one in pair] for pair in found]
    first, second = np.array(values, dtype=float).reshape(len(runs), 2, len(tasks)).swapaxes(0, 1)
    return first, second


def _by_task(row: Row, metric: str) -> dict[str, float]:
    found = {name: task.get(metric) for name, task in row.tasks.items()}
    return {name: value for name, value in found.items() if value is not None}


def _scores(
    experiments: Sequence[Sequence[tuple[Row, Row]]],
) -> list[dict[str, tuple[float, float, float]]]:
    """Return the difference of each score, and the ends of its interval, for each experiment.

    The interval covers other tasks also where few of them or none are solved (`shares.difference`),
    and is at least as wide as that over tasks and seeds.

    Args:
        experiments: The runs of each experiment, each with that of the baseline.
    """
    found: list[dict[str, tuple[float, float, float]]] = [{} for _ in experiments]
    for score in SCORES:
        values = [_values(runs, score) for runs in experiments]
        spread = differences.differences([own - other for own, other in values]) if values else []
        for scores, (own, other), one in zip(found, values, spread, strict=True):
            low, high = shares.difference(own.mean(axis=0), other.mean(axis=0))
            half = one.half_width()
            scores[score] = one.mean, min(low, one.mean - half), max(high, one.mean + half)
    return found


def _text(found: Difference, p_value: float, count: int) -> str:
    size = f"{abs(found.mean):.3f} ± {found.half_width():.3f}"
    if p_value < LEVEL:
        return f"{'better' if found.mean < 0 else 'worse'} by {size}"
    level = LEVEL / count
    needed = found.seeds_needed(level)
    more = (
        "more validation tasks would be needed"
        if needed is None
        else f"about {needed} seeds would settle it"
    )
    return (
        f"cannot tell: {'lower' if found.mean < 0 else 'higher'} by {size}; a difference of"
        f" {found.detectable(level):.3f} would have shown, {more}"
    )
