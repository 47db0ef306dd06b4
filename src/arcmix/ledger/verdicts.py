"""Verdicts: whether an experiment of the table is better or worse than its baseline.

The loss of a run on a task is that of the models that answer, in nats per cell of the right
answers, so it does not depend on how a grid is encoded. Two experiments are compared task by task
and seed by seed, on the tasks and seeds that both have (`stats.differences`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arcmix.ledger.records import Row
from arcmix.stats import differences
from arcmix.stats.differences import LEVEL, Difference

LOSS = "answering_loss_per_cell"
"""The metric of a task that is compared; a lower one is better."""


MIN_SEEDS = 2
"""Number of seeds that one experiment of a table at least has in common with the baseline."""


@dataclass(frozen=True)
class Verdict:
    """What the difference of an experiment from its baseline says."""

    text: str
    """The verdict in words."""
    difference: Difference | None = None
    """The difference from the baseline, in nats per cell; None where nothing can be compared."""
    p_value: float | None = None
    """The p-value of the difference, adjusted for the number of comparisons of the table."""


def verdicts(
    experiments: Sequence[Sequence[Row]], names: Sequence[str], baselines: Sequence[str]
) -> list[Verdict]:
    """Return the verdict on each experiment of a table.

    The baseline of the table is the first of `baselines` that is the name of an experiment.

    Args:
        experiments: The rows of each experiment, which differ in their seeds alone.
        names: The name of each experiment.
        baselines: Names of experiments, the preferred one first.
    """
    baseline = next((name for name in baselines if name in names), None)
    if baseline is None:
        missing = Verdict(f"no baseline: none of {', '.join(baselines)} is here")
        return [missing] * len(experiments)
    place = names.index(baseline)
    paired = [_paired(rows, experiments[place]) for rows in experiments]
    able = [at for at, one in enumerate(paired) if at != place and len(one) and one.shape[1] > 1]
    if all(len(paired[at]) < MIN_SEEDS for at in able):
        able = []  # nothing says how much the seeds do
    measured = differences.differences([paired[at] for at in able]) if able else []
    adjusted = differences.holm([one.p_value() for one in measured])
    found = {
        at: Verdict(_text(one, p_value, len(able)), one, p_value)
        for at, one, p_value in zip(able, measured, adjusted, strict=True)
    }
    found[place] = Verdict("baseline")
    return [found.get(at) or _incomparable(one) for at, one in enumerate(paired)]


def _incomparable(paired: np.ndarray) -> Verdict:
    seeds, tasks = paired.shape
    return Verdict(
        f"cannot tell: {seeds} seeds and {tasks} tasks in common with the baseline; {MIN_SEEDS}"
        " seeds are needed"
    )


def _paired(rows: Sequence[Row], baseline: Sequence[Row]) -> np.ndarray:
    """Return the differences of the losses on common seeds and tasks, float (seeds, tasks)."""
    mine, theirs = ({row.seed: row for row in own} for own in (rows, baseline))
    seeds = sorted(mine.keys() & theirs.keys())
    runs = [(mine[seed].tasks, theirs[seed].tasks) for seed in seeds]
    common = set.intersection(*({*tasks} for pair in runs for tasks in pair)) if runs else set()
    tasks = [
        task
        for task in sorted(common)
        if all(found[task].get(LOSS) is not None for pair in runs for found in pair)
    ]
    values = [[own[task][LOSS] - other[task][LOSS] for task in tasks] for own, other in runs]
    return np.array(values, dtype=float).reshape(len(seeds), len(tasks))


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
