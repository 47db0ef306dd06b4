"""How often the intervals of `stats.differences` cover the truth, and how often a table is wrong.

    python -m benchmarks.coverage --studies 1000

Simulates studies: experiments with known losses on random tasks, each with some seeds, against a
baseline. Prints Markdown: the share of intervals that cover the true difference, the share of
tables with a false finding where there is no difference, and the share of differences that are
found where the true one is as large as the true variances make detectable.
"""

import argparse

import numpy as np

from arcmix import randomness
from arcmix.stats import differences

EXPERIMENTS = (1, 10)
"""Numbers of experiments that a table compares with its baseline."""

RATIOS = (0.0, 0.3, 1.0, 3.0)
"""Variances of a mean by its seeds, relative to that by its tasks."""

REST = 0.5
"""Variance of the rest, relative to that of the effects of tasks."""

SKEW = 1.787
"""Standard deviation of sinh(z) of a standard normal z."""


def normal(purpose: str, index: int, *shape: int) -> np.ndarray:
    """Return standard normal numbers, float64 of a shape (Box and Muller 1958)."""
    size = int(np.prod(shape))
    first, second = (
        randomness.uniform(randomness.words(0, f"coverage/{purpose}/{half}", index, 1, size)[0])
        for half in ("radius", "angle")
    )
    return (np.sqrt(-2 * np.log1p(-first)) * np.cos(2 * np.pi * second)).reshape(shape)


def study(
    index: int, count: int, seeds: int, tasks: int, ratio: float, *, heavy: bool
) -> list[np.ndarray]:
    """Return the differences of experiments that do not differ, a list of (seeds, tasks).

    The effects of the tasks have a variance of 1 in each difference.

    Args:
        index: Number of the study; it draws everything.
        count: Number of experiments.
        seeds: Number of seeds.
        tasks: Number of tasks.
        ratio: Variance of a mean by its seeds, relative to that by its tasks.
        heavy: Whether the effects have heavy tails: most tasks change little, some a lot.
    """
    drawn = normal("tasks", index, count + 1, 1, tasks)
    of_tasks = np.sinh(drawn) / SKEW if heavy else drawn
    of_seeds = np.sqrt(ratio * seeds / tasks) * normal("seeds", index, count + 1, seeds, 1)
    rest = np.sqrt(REST) * normal("rest", index, count + 1, seeds, tasks)
    losses = (of_tasks + of_seeds + rest) / np.sqrt(2)
    return [*(losses[1:] - losses[0])]


def rates(
    studies: int, count: int, seeds: int, tasks: int, ratio: float, *, heavy: bool
) -> tuple[float, float, float]:
    """Return the coverage, the share of tables with a false finding, and the power.

    Args:
        studies: Number of studies.
        count: Number of experiments.
        seeds: Number of seeds.
        tasks: Number of tasks.
        ratio: Variance of a mean by its seeds, relative to that by its tasks.
        heavy: Whether the effects of tasks have heavy tails.
    """
    degrees = differences.shared_degrees([seeds] * count)
    of_seeds = ratio * seeds / tasks
    truth = differences.Difference(0.0, seeds, tasks, of_seeds, degrees, of_tasks=1.0, rest=REST)
    effect = truth.detectable()
    covered, wrong, shown = [], [], []
    for index in range(studies):
        found = differences.differences(study(index, count, seeds, tasks, ratio, heavy=heavy))
        covered += [abs(one.mean) <= one.half_width() for one in found]
        # The first step of Holm's procedure, which decides whether there is a finding.
        level = differences.LEVEL / count
        wrong.append(any(abs(one.mean) > one.half_width(level) for one in found))
        shown.append(abs(found[0].mean + effect) > found[0].half_width())
    return float(np.mean(covered)), float(np.mean(wrong)), float(np.mean(shown))


def main() -> None:
    """Print the rates of all settings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=2000)
    studies = parser.parse_args().studies
    print("| lines | seeds | tasks | variance, seeds / tasks | effects | covered | false | found |")
    print("| ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: |")
    for count in EXPERIMENTS:
        for seeds in (3, 5):
            for tasks in (24, 100, 400):
                for ratio in RATIOS:
                    for heavy in (False, True):
                        found = rates(studies, count, seeds, tasks, ratio, heavy=heavy)
                        text = " | ".join(f"{100 * one:.1f} %" for one in found)
                        tails = "heavy tails" if heavy else "normal"
                        print(
                            f"| {count} | {seeds} | {tasks} | {ratio:g} | {tails} | {text} |",
                            flush=True,
                        )


if __name__ == "__main__":
    main()
