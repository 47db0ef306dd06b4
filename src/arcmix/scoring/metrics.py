"""How good the answers are and how large the losses; docs/metrics.md has the definitions.

The metrics are arc24's since 2024-08-28 with one correction: every validation task counts,
also one without any answer. Those of before are there under names of their own.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from arcmix import randomness
from arcmix.prediction.selection import Candidate, Scores, choices, ranked

VERSION = 3
"""Version of the definitions: raised with every change of what a metric means."""

ATTEMPTS = 2
"""Attempts that a test allows."""

SELECTED = "selected"
"""Name of the metrics of the rule that `selection` names."""

HEADLINE = ("accuracy", "correct_pixels", "pass_n", "selected_1", "selected_2")
"""Metrics in `metrics.json` with the ends of their interval, and over the clean tasks."""

RESAMPLES = 10_000
"""Draws of the bootstrap; they are the same in every run."""


def score_test(
    candidates: Sequence[Candidate],
    truth: np.ndarray,
    scores: Scores,
    *,
    rules: Sequence[str],
    selection: str,
) -> dict[str, float]:
    """Return the metrics of one test by name, each from 0 to 1.

    Args:
        candidates: The answers by view and rank, at least one, which may be no grid.
        truth: The right answer.
        scores: The distinct grids' log-probabilities over all views.
        rules: Rules of selection that have metrics.
        selection: The rule that is chosen, one of them.
    """
    pixels = [share_right(candidate.grid, truth) for candidate in candidates]
    sized = [
        candidate.grid is not None and candidate.grid.shape == truth.shape
        for candidate in candidates
    ]
    exact = [share == 1 for share in pixels]
    accuracy = sum(exact) / len(candidates)
    found = {
        "accuracy": accuracy,
        "correct_pixels": math.fsum(pixels) / len(candidates),
        "max_correct_pixels": max(pixels),
        "correct_size": sum(sized) / len(candidates),
        "any_correct_size": float(any(sized)),
        "pass_n": float(any(exact)),
        "random2": 1 - (1 - accuracy) ** 2,
        "unanswered": sum(candidate.grid is None for candidate in candidates) / len(candidates),
    }
    for rule in rules:
        best = ranked(rule, candidates, scores)
        for count in range(1, ATTEMPTS + 1):
            right = float(solves([choice.grid for choice in best[:count]], truth))
            found[f"{rule}_{count}"] = right
            if rule == selection:
                found[f"{SELECTED}_{count}"] = right
    return found | _best_of_two(candidates, truth)


def _best_of_two(candidates: Sequence[Candidate], truth: np.ndarray) -> dict[str, float]:
    """Return the metrics of arc24 until 2024-08-22, of the first two grids that differ."""
    attempts = [choice.grid for choice in choices(candidates)[:2]]
    pixels = max((share_right(grid, truth) for grid in attempts), default=0.0)
    return {
        "best_of_two": float(pixels == 1),
        "best_of_two_pixels": pixels,
        "best_of_two_size": float(any(grid.shape == truth.shape for grid in attempts)),
        "best_of_two_unanswered": (2 - len(attempts)) / 2,
    }


def share_right(grid: np.ndarray | None, truth: np.ndarray) -> float:
    """Return the share of equal cells, 0 for no grid or another shape."""
    if grid is None or grid.shape != truth.shape:
        return 0.0
    return float(np.mean(grid == truth))


def solves(attempts: Iterable[np.ndarray], truth: np.ndarray) -> bool:
    """Return whether one of the attempts at a test is the right answer.

    This is the one definition of a solved test: the metrics, the report and the score of a
    submission use it.

    Args:
        attempts: Grids, uint8 (height, width).
        truth: The right answer, uint8 (height, width).
    """
    return any(np.array_equal(grid, truth) for grid in attempts)


def summary(
    tests: Mapping[str, Sequence[dict[str, float]]], clean: Collection[str]
) -> dict[str, dict[str, float]]:
    """Return each metric of a run, summed up in several ways.

    Args:
        tests: Task -> the metrics of each of its tests (`score_test`).
        clean: The tasks that share nothing with the training data.

    Returns:
        Metric -> `mean` over tasks, `low` and `high` (the 95 % interval of that mean), `per_test`
        (mean over tests), `all_tests` (mean over tasks of the least value of its tests), and
        `clean` (mean over the clean tasks, missing if there are none).
    """
    tasks = {task: mean(own) for task, own in tests.items()}
    whole = mean(tasks.values())
    ends = intervals([*tasks.values()])
    every = mean([test for own in tests.values() for test in own])
    least = mean(
        [{name: min(test[name] for test in own) for name in whole} for own in tests.values()]
    )
    of_clean = mean([tasks[task] for task in clean]) if clean else {}
    return {
        name: {
            "mean": value,
            "low": ends[name][0],
            "high": ends[name][1],
            "per_test": every[name],
            "all_tests": least[name],
        }
        | ({"clean": of_clean[name]} if clean else {})
        for name, value in whole.items()
    }


def intervals(tasks: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """Return the 95 % interval of each metric's mean over tasks.

    Percentile bootstrap (Efron 1979) over tasks: the 2.5th and 97.5th percentile of the mean of
    as many tasks, drawn with replacement. It tells how far the mean depends on which tasks were
    drawn for validation, and nothing of the chance in training.

    Args:
        tasks: The metrics of each task, at least one.
    """
    words = randomness.words(0, "score/bootstrap", 0, RESAMPLES, len(tasks))
    drawn = randomness.below(words, len(tasks))
    found = {}
    for name in tasks[0]:
        means = np.array([task[name] for task in tasks])[drawn].mean(axis=1)
        low, high = np.quantile(means, (0.025, 0.975))
        found[name] = float(low), float(high)
    return found


def mean(scores: Collection[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each metric: a task's over its tests, or a set's over its tasks."""
    names = next(iter(scores))
    return {name: math.fsum(score[name] for score in scores) / len(scores) for name in names}
