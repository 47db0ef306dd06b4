"""Which of a test's candidates to answer with, by four rules; docs/metrics.md compares them.

A rule ranks the distinct grids among the candidates and needs no model, so it can be changed
after the answers are there. Ties are broken by the first appearance of the grid: by the earlier
view, and inside a view by rank.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Candidate:
    """One of the answers that the model gave to one view of a test."""

    grid: np.ndarray | None
    """The answer with the view undone, uint8 of shape (height, width); None for no grid."""
    logprob: float
    """Sum of the log-probabilities of the answer's tokens, in nats."""
    tokens: int
    """Number of the answer's tokens, its end token included; 0 if there is none."""
    ended: bool
    """Whether the end of the answer came within the budget of tokens."""


Scores = Mapping[int, float]
"""Number of a distinct grid -> the log-probability that the model gives it, in nats, summed over
the views of the test. A grid that was not scored has no entry."""


@dataclass(frozen=True)
class Choice:
    """A distinct grid and the candidates that are it."""

    number: int
    """Its number among the distinct grids of the test, by first appearance."""
    grid: np.ndarray
    """uint8 of shape (height, width)."""
    votes: tuple[Candidate, ...]
    """The candidates, in their order."""

    @property
    def confidence(self) -> float:
        """Mean over the votes of the log-probability per token."""
        # fsum, so that votes of the same numbers in another order tie.
        return math.fsum(vote.logprob / vote.tokens for vote in self.votes) / len(self.votes)


def choices(candidates: Sequence[Candidate]) -> list[Choice]:
    """Return the distinct grids of a test by first appearance.

    Args:
        candidates: The test's candidates by view and rank.
    """
    found: dict[tuple[tuple[int, ...], bytes], list[Candidate]] = {}
    for candidate in candidates:
        if candidate.grid is not None:
            key = (candidate.grid.shape, candidate.grid.tobytes())
            found.setdefault(key, []).append(candidate)
    return [
        Choice(number, np.asarray(votes[0].grid), tuple(votes))
        for number, votes in enumerate(found.values())
    ]


def ranked(rule: str, candidates: Sequence[Candidate], scores: Scores) -> list[Choice]:
    """Return the distinct grids of a test, the best first.

    Args:
        rule: One of `RULES`.
        candidates: The test's candidates by view and rank.
        scores: The distinct grids' log-probabilities over all views; `product` alone uses them.
    """
    key = RULES[rule]
    return sorted(choices(candidates), key=lambda choice: key(choice, scores))


Key = Callable[[Choice, Scores], tuple[float, ...]]
"""A smaller key is a better grid; equal keys stay in the order of first appearance."""


def _vote_count(choice: Choice, _: Scores) -> tuple[float, ...]:
    """More votes win (arc24's first voting rule)."""
    return (-len(choice.votes),)


def _vote_logprob(choice: Choice, _: Scores) -> tuple[float, ...]:
    """More votes win, then the higher confidence (arc24's second voting rule)."""
    return (-len(choice.votes), -choice.confidence)


def _product(choice: Choice, scores: Scores) -> tuple[float, ...]:
    """The higher product of the views' probabilities wins (Franzen et al. 2025).

    Grids without a score come after those with one, as `_vote_logprob` ranks them.
    """
    if choice.number in scores:
        return (0, -scores[choice.number])
    return (1, *_vote_logprob(choice, scores))


def _best(choice: Choice, _: Scores) -> tuple[float, ...]:
    """The grid of the single most probable candidate wins."""
    return (-max(vote.logprob for vote in choice.votes),)


RULES: Mapping[str, Key] = {
    "vote_count": _vote_count,
    "vote_logprob": _vote_logprob,
    "product": _product,
    "best": _best,
}
"""The rules by the names that `selection` in `params.yaml` takes."""
