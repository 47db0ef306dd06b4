"""How good the answers are and how large the losses; docs/metrics.md has the definitions.

The metrics are arc24's since 2024-08-28 with one correction: every validation task counts,
also one without any answer.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Candidate:
    """What the model answered to one view of a test."""

    grid: np.ndarray | None
    """The answer with the view undone, uint8 of shape (height, width); None for no grid."""
    logprob: float
    """Sum of the log-probabilities of the answer's tokens, in nats."""
    tokens: int
    """Number of the answer's tokens, its end token included."""


UNANSWERED = Candidate(None, 0.0, 0)
"""What stands for a view that was not put to the model, its prompt being too long."""


def score_test(candidates: Sequence[Candidate], truth: np.ndarray) -> dict[str, float]:
    """Return the metrics of one test by name, each from 0 to 1.

    Args:
        candidates: The answers in the order of the views; none at all is one unanswered.
        truth: The right answer.
    """
    grids = [candidate.grid for candidate in candidates or [UNANSWERED]]
    sized = [grid is not None and grid.shape == truth.shape for grid in grids]
    pixels = [
        float(np.mean(grid == truth)) if fits else 0.0
        for grid, fits in zip(grids, sized, strict=True)
    ]
    exact = [share == 1 for share in pixels]
    voted = [np.array_equal(grid, truth) for grid in vote(candidates)]
    return {
        "accuracy": sum(exact) / len(grids),
        "correct_pixels": math.fsum(pixels) / len(grids),
        "max_correct_pixels": max(pixels),
        "correct_size": sum(sized) / len(grids),
        "any_correct_size": float(any(sized)),
        "pass_n": float(any(exact)),
        "vote_1": float(any(voted[:1])),
        "vote_2": float(any(voted[:2])),
        "unanswered": sum(grid is None for grid in grids) / len(grids),
    }


def vote(candidates: Sequence[Candidate]) -> list[np.ndarray]:
    """Return the distinct grids, the best first (arc24's second voting rule).

    More candidates win, then the higher mean of log-probability per token, then the earlier
    view.
    """
    groups: dict[tuple[tuple[int, ...], bytes], tuple[np.ndarray, list[float]]] = {}
    for candidate in candidates:
        if candidate.grid is not None:
            key = (candidate.grid.shape, candidate.grid.tobytes())
            _, confidences = groups.setdefault(key, (candidate.grid, []))
            confidences.append(candidate.logprob / candidate.tokens)

    def rank(group: tuple[np.ndarray, list[float]]) -> tuple[int, float]:
        count = len(group[1])
        # fsum, so that groups of the same numbers in another order tie.
        return -count, -math.fsum(group[1]) / count

    return [grid for grid, _ in sorted(groups.values(), key=rank)]


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


@dataclass(frozen=True)
class Losses:
    """What the losses of some prompts come to, in nats per answer token."""

    per_token: float
    """Each token weighs the same."""
    per_prompt: float
    """Each prompt weighs the same."""
    per_task: float
    """Each task weighs the same."""
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
        tasks=tasks,
    )


def _per_token(prompts: Sequence[PromptLoss]) -> float:
    return math.fsum(prompt.nll for prompt in prompts) / sum(prompt.tokens for prompt in prompts)
