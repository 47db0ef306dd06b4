"""Metrics of answers; docs/metrics.md defines them.

The metrics are those of arc24 since 2024-08-28, with one correction: a validation task without
answers counts too. The metrics of arc24 until 2024-08-22 are `best_of_two` and its variants.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from arcmix.prediction.selection import Candidate, Scores, choices, ranked
from arcmix.stats import shares

VERSION = 5
"""Version of the definitions; it increases with every change of a definition."""

ATTEMPTS = 2
"""Number of attempts at a test that ARC allows."""

SELECTED = "selected"
"""Prefix of the metrics of the selected rule (`selection` in `params.yaml`)."""

HEADLINE = ("accuracy", "correct_pixels", "pass_n", "selected_1", "selected_2")
"""Metrics that `metrics.json` holds with their interval and with their mean over clean tasks."""


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
        candidates: The test's candidates by view and rank, at least one.
        truth: The right answer, uint8 (height, width).
        scores: The scores of the distinct grids.
        rules: The rules whose metrics are computed.
        selection: The selected rule, one of `rules`.
    """
    pixels = [correct_share(candidate.grid, truth) for candidate in candidates]
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
            solved = float(solves([choice.grid for choice in best[:count]], truth))
            found[f"{rule}_{count}"] = solved
            if rule == selection:
                found[f"{SELECTED}_{count}"] = solved
    return found | _best_of_two(candidates, truth)


def _best_of_two(candidates: Sequence[Candidate], truth: np.ndarray) -> dict[str, float]:
    """Return the metrics of arc24 until 2024-08-22, which score the first two distinct grids."""
    attempts = [choice.grid for choice in choices(candidates)[:2]]
    pixels = max((correct_share(grid, truth) for grid in attempts), default=0.0)
    return {
        "best_of_two": float(pixels == 1),
        "best_of_two_pixels": pixels,
        "best_of_two_size": float(any(grid.shape == truth.shape for grid in attempts)),
        "best_of_two_unanswered": (2 - len(attempts)) / 2,
    }


def correct_share(grid: np.ndarray | None, truth: np.ndarray) -> float:
    """Return the share of cells that are right; 0 without a grid or if the shapes differ."""
    if grid is None or grid.shape != truth.shape:
        return 0.0
    return float(np.mean(grid == truth))


def solves(attempts: Iterable[np.ndarray], truth: np.ndarray) -> bool:
    """Return whether one of the attempts at a test is the right answer.

    The metrics, the report and the score of a submission share this definition of a solved test.

    Args:
        attempts: Grids, uint8 (height, width).
        truth: The right answer, uint8 (height, width).
    """
    return any(np.array_equal(grid, truth) for grid in attempts)


def summary(
    tests: Mapping[str, Sequence[dict[str, float]]], clean: Collection[str]
) -> dict[str, dict[str, float]]:
    """Return several means of each metric.

    Args:
        tests: Task -> the metrics of each of its tests (`score_test`).
        clean: Ids of the clean tasks, whose pairs are not in the training data.

    Returns:
        Metric -> `mean` over tasks; `low` and `high`, the 95 % interval of this mean; `per_test`,
        the mean over tests; `all_tests`, the mean over tasks of the minimum over the task's tests;
        and `clean`, the mean over clean tasks, which is missing without such tasks.
    """
    tasks = {task: mean(own) for task, own in tests.items()}
    whole = mean(tasks.values())
    ends = {name: shares.interval(value, len(tasks)) for name, value in whole.items()}
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


def mean(scores: Collection[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each metric over tests or tasks.

    Args:
        scores: The metrics of each test or task, at least one.
    """
    names = next(iter(scores))
    return {name: math.fsum(score[name] for score in scores) / len(scores) for name in names}
