"""How good the answers are and how large the losses; docs/metrics.md has the definitions.

The metrics are arc24's since 2024-08-28 with one correction: every validation task counts,
also one without any answer. Those of before are there under names of their own.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from arcmix import draws
from arcmix.select import Candidate, Scores, choices, ranked

VERSION = 2
"""Of the definitions: raised with every change of what a metric means."""

RULES = {
    "vote": "vote_count",
    "vote_logprob": "vote",
    "product": "product",
    "best": "best_logprob",
}
"""Rule of selection -> what its metrics are called, of which `vote` is the name that arc24 gave
to its second rule."""

SELECTED = "selected"
"""What the metrics of the chosen rule are called."""

VARIANTS = ("pass_n", "vote_1", "vote_2", "selected_1", "selected_2")
"""Metrics with a mean over tests, and a share of the tasks of which all tests are right."""

INTERVALS = ("accuracy", "correct_pixels", "pass_n", "vote_2", "selected_2")
"""Metrics with an interval."""

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
        right = [share_right(choice.grid, truth) == 1 for choice in best]
        for count in (1, 2):
            found[f"{RULES[rule]}_{count}"] = float(any(right[:count]))
            if rule == selection:
                found[f"{SELECTED}_{count}"] = float(any(right[:count]))
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


def summary(tests: Mapping[str, Sequence[dict[str, float]]]) -> dict[str, float]:
    """Return the metrics of a run: means over tasks, their variants and intervals.

    Args:
        tests: Task -> the metrics of each of its tests (`score_test`).
    """
    tasks = [mean(own) for own in tests.values()]
    every = mean([test for own in tests.values() for test in own])
    solved = mean(
        [{name: min(test[name] for test in own) for name in VARIANTS} for own in tests.values()]
    )
    return (
        mean(tasks)
        | {f"{name}_per_test": every[name] for name in VARIANTS}
        | {f"{name}_all_tests": solved[name] for name in VARIANTS}
        | intervals(tasks)
    )


def intervals(tasks: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the ends of the 95 % intervals of the means over tasks, as NAME_low and NAME_high.

    Percentile bootstrap (Efron 1979) over tasks: the 2.5th and 97.5th percentile of the mean of
    as many tasks, drawn with replacement. It tells how far the mean depends on which tasks were
    drawn for validation, and nothing of the chance in training.

    Args:
        tasks: The metrics of each task, at least one.
    """
    words = draws.words(0, "score/bootstrap", 0, RESAMPLES, len(tasks))
    drawn = draws.below(words, len(tasks))
    found = {}
    for name in INTERVALS:
        means = np.array([task[name] for task in tasks])[drawn].mean(axis=1)
        low, high = np.quantile(means, (0.025, 0.975))
        found |= {f"{name}_low": float(low), f"{name}_high": float(high)}
    return found


def mean(scores: Collection[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each metric: a task's over its tests, or a set's over its tasks."""
    names = next(iter(scores))
    return {name: math.fsum(score[name] for score in scores) / len(scores) for name in names}


@dataclass(frozen=True)
class PromptLoss:
    """The loss of one validation prompt."""

    task: str
    """The task it is a test of."""
    nll: float
    """Negative log-likelihood, summed over the answer's tokens, in nats."""
    tokens: int
    """Number of the answer's tokens, its end token included."""
    cells: int
    """Number of the answer's cells."""


@dataclass(frozen=True)
class Losses:
    """What the losses of some prompts come to, in nats per answer token but for `per_cell`."""

    per_token: float
    """Each token weighs the same."""
    per_prompt: float
    """Each prompt weighs the same."""
    per_task: float
    """Each task weighs the same."""
    per_cell: float
    """In nats per cell of the answers, so that other encoders and tokenizers compare."""
    tasks: dict[str, float]
    """Task -> its own loss, in which each token weighs the same."""


def losses(prompts: Sequence[PromptLoss]) -> Losses:
    """Return the losses of at least one prompt; how they were batched cannot matter."""
    by_task: dict[str, list[PromptLoss]] = {}
    for prompt in prompts:
        by_task.setdefault(prompt.task, []).append(prompt)
    tasks = {task: _per_token(own) for task, own in by_task.items()}
    return Losses(
        per_token=_per_token(prompts),
        per_prompt=math.fsum(prompt.nll / prompt.tokens for prompt in prompts) / len(prompts),
        per_task=math.fsum(tasks.values()) / len(tasks),
        per_cell=math.fsum(prompt.nll for prompt in prompts)
        / sum(prompt.cells for prompt in prompts),
        tasks=tasks,
    )


def _per_token(prompts: Sequence[PromptLoss]) -> float:
    return math.fsum(prompt.nll for prompt in prompts) / sum(prompt.tokens for prompt in prompts)
