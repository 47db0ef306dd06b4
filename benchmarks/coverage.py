"""How often the intervals of `stats.differences` cover the truth, and how often a table is wrong.

    python -m benchmarks.coverage --studies 1000
    python -m benchmarks.coverage --studies 1000 --ledger results/ledger

Simulates studies: experiments with known losses on random tasks, each with some seeds, against a
baseline. Prints Markdown: the share of intervals that cover the true difference, the same of the
last experiment alone, the share of tables with a false finding where there is no difference, and
the share of differences that are found where the true one is as large as the true variances make
detectable.

With a ledger, the numbers of experiments, seeds and tasks and the variances are those of its
tables.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arcmix import randomness
from arcmix.ledger import records, table
from arcmix.stats import differences
from arcmix.stats.differences import Difference

EXPERIMENTS = (1, 10)
"""Numbers of experiments that a table compares with its baseline."""

RATIOS = (0.0, 0.3, 1.0, 3.0)
"""Variances of a mean by its seeds, relative to that by its tasks."""

REST = 0.5
"""Variance of the rest, relative to that of the effects of tasks."""

SKEW = 1.787
"""Standard deviation of sinh(z) of a standard normal z."""

UNEQUAL = 4.0
"""Largest variance of the effects of seeds, relative to the smallest one, where they differ."""

SEEDS = ("equal", "spread", "one")
"""How the variance of the effects of seeds depends on the experiment: not at all; it rises evenly
from the first to the last by the factor `UNEQUAL`; or it is larger by this factor in the last one
than in all others."""

BASELINES = ("new-train", "combo-v2")
"""Baselines of the tables of a ledger."""


@dataclass(frozen=True)
class Setting:
    """A kind of studies. The effects of the tasks have a variance of 1 in each difference."""

    count: int
    """Number of experiments beside the baseline."""
    seeds: int
    """Number of seeds."""
    tasks: int
    """Number of tasks."""
    ratio: float
    """Variance of a mean by its seeds, relative to that by its tasks."""
    heavy: bool
    """Whether the effects have heavy tails: most tasks change little, some a lot."""
    unequal: str = "equal"
    """How the variance of the effects of seeds depends on the experiment, one of `SEEDS`."""
    rest: float = REST
    """Variance of the rest."""

    @property
    def factors(self) -> np.ndarray:
        """Variance of the effects of seeds of each experiment, relative to that of the baseline.

        float (count + 1,), the baseline first.
        """
        found = np.ones(self.count + 1)
        if self.unequal == "spread":
            found[1:] = np.linspace(2, 2 * UNEQUAL, self.count) / (1 + UNEQUAL)
        elif self.unequal == "one":
            found[-1] = UNEQUAL
        return found


@dataclass(frozen=True)
class Rates:
    """What was right and wrong in studies of one kind, as shares."""

    covered: float
    """Intervals that cover the true difference."""
    last: float
    """The same of the last experiment alone."""
    wrong: float
    """Tables with a false finding."""
    found: float
    """Findings for the first experiment where its true difference is detectable."""


def normal(purpose: str, index: int, *shape: int) -> np.ndarray:
    """Return standard normal numbers, float64 of a shape (Box and Muller 1958)."""
    size = int(np.prod(shape))
    first, second = (
        randomness.uniform(randomness.words(0, f"coverage/{purpose}/{half}", index, 1, size)[0])
        for half in ("radius", "angle")
    )
    return (np.sqrt(-2 * np.log1p(-first)) * np.cos(2 * np.pi * second)).reshape(shape)


def study(index: int, setting: Setting) -> list[np.ndarray]:
    """Return the differences of experiments that do not differ, a list of (seeds, tasks).

    Args:
        index: Number of the study; it draws everything.
        setting: The kind of study.
    """
    shape = setting.count + 1, setting.seeds, setting.tasks
    drawn = normal("tasks", index, shape[0], 1, shape[2])
    of_tasks = np.sinh(drawn) / SKEW if setting.heavy else drawn
    variances = setting.ratio * setting.seeds / setting.tasks * setting.factors
    of_seeds = np.sqrt(variances)[:, None, None] * normal("seeds", index, shape[0], shape[1], 1)
    rest = np.sqrt(setting.rest) * normal("rest", index, *shape)
    losses = (of_tasks + of_seeds + rest) / np.sqrt(2)
    return [*(losses[1:] - losses[0])]


def rates(studies: int, setting: Setting) -> Rates:
    """Return how often intervals and tables are right.

    Args:
        studies: Number of studies.
        setting: Their kind.
    """
    effect = _truth(setting).detectable()
    covered, wrong, shown = [], [], []
    for index in range(studies):
        found = differences.differences(study(index, setting))
        covered.append([abs(one.mean) <= one.half_width() for one in found])
        # The first step of Holm's procedure, which decides whether there is a finding.
        level = differences.LEVEL / setting.count
        wrong.append(any(abs(one.mean) > one.half_width(level) for one in found))
        shown.append(abs(found[0].mean + effect) > found[0].half_width())
    shares = np.mean(covered, axis=0)
    return Rates(
        float(shares.mean()), float(shares[-1]), float(np.mean(wrong)), float(np.mean(shown))
    )


def _truth(setting: Setting) -> Difference:
    """Return the difference of the first experiment with its true variances."""
    of_seeds = setting.ratio * setting.seeds / setting.tasks * setting.factors[:2].mean()
    degrees = differences.shared_degrees([setting.seeds] * setting.count)
    return Difference(0.0, setting.seeds, setting.tasks, of_seeds, degrees, 1.0, setting.rest)


def settings() -> list[Setting]:
    """Return all settings of the simulation."""
    return [
        Setting(count, seeds, tasks, ratio, heavy, unequal)
        for unequal in SEEDS
        for count in EXPERIMENTS
        if count > 1 or unequal == "equal"
        for seeds in (3, 5)
        for tasks in (24, 100, 400)
        for ratio in RATIOS
        if ratio > 0 or unequal == "equal"
        for heavy in (False, True)
    ]


def measured(folder: Path, baselines: Sequence[str]) -> list[Setting]:
    """Return settings with the sizes and variances of the tables of a ledger.

    Args:
        folder: The ledger.
        baselines: Names of the baselines of its tables.

    Raises:
        ValueError: If no table compares anything.
    """
    rows = records.read(folder)
    found = []
    for code in sorted({row.code for row in rows}):
        own = [row for row in rows if row.code == code]
        for block in table.blocks(own, code, baselines, {}):
            judged = [line.verdict.difference for line in block.lines]
            if compared := [one for one in judged if one is not None]:
                found += [_like(compared, heavy=heavy) for heavy in (False, True)]
    if not found:
        raise ValueError(
            f"{folder}: no table of {len(rows)} rows compares a dataset with a baseline; its"
            " variances are to be estimated, so run a dataset and a baseline with 2 seeds each"
        )
    return found


def _like(compared: Sequence[Difference], *, heavy: bool) -> Setting:
    """Return the setting of a table with some differences, which has its largest sizes."""
    seeds = max(one.seeds for one in compared)
    tasks = max(one.tasks for one in compared)
    of_tasks = float(np.mean([one.of_tasks for one in compared]))
    rest = float(np.mean([one.rest for one in compared]))
    ratio = compared[0].of_seeds / seeds / (of_tasks / tasks)
    return Setting(len(compared), seeds, tasks, ratio, heavy, rest=rest / of_tasks)


def main() -> None:
    """Print the rates of all settings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--ledger", type=Path)
    parser.add_argument("--baselines", nargs="+", default=BASELINES)
    flags = parser.parse_args()
    print(
        "| lines | seeds | tasks | variance, seeds / tasks | variance of seeds | effects |", end=""
    )
    print(" covered | last line | false | found |")
    print("| ---: | ---: | ---: | ---: | --- | --- | ---: | ---: | ---: | ---: |")
    for one in measured(flags.ledger, flags.baselines) if flags.ledger else settings():
        found = rates(flags.studies, one)
        shares = (found.covered, found.last, found.wrong, found.found)
        cells = [
            *(one.count, one.seeds, one.tasks, f"{one.ratio:.3g}", one.unequal),
            "heavy tails" if one.heavy else "normal",
            *(f"{100 * share:.1f} %" for share in shares),
        ]
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
