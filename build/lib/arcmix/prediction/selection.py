"""Rules that select a test's answers among its candidates; docs/metrics.md compares them.

A rule ranks the distinct grids of the candidates. It needs no model, so another rule takes no new
answers. Ties are broken by first appearance: by view, then by rank.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Candidate:
    """An answer of the model to one view of a test."""

    grid: np.ndarray | None
    """The answer with the view's transform inverted, uint8 (height, width); None if the answer is
    not a grid."""
    logprob: float
    """Sum of the log-probabilities of the answer's tokens, in nats."""
    tokens: int
    """Number of the answer's tokens, the end token included; 0 if the view has no answer."""
    ended: bool
    """Whether the answer ended within the token budget."""


Scores = Mapping[int, float]
"""Number of a distinct grid -> its log-probability summed over the views of the test, in nats. A
grid that was not scored has no entry."""


@dataclass(frozen=True)
class Choice:
    """A distinct grid and the candidates that vote for it."""

    number: int
    """Number among the distinct grids of the test, in order of first appearance."""
    grid: np.ndarray
    """The grid, uint8 (height, width)."""
    votes: tuple[Candidate, ...]
    """The candidates with this grid, by view and rank."""

    @property
    def confidence(self) -> float:
        """Mean over the votes of the log-probability per token, in nats."""
        # The order of the votes does not change an fsum, so equal votes tie in any order.
        return math.fsum(vote.logprob / vote.tokens for vote in self.votes) / len(self.votes)


def choices(candidates: Sequence[Candidate]) -> list[Choice]:
    """Return the distinct grids of a test, in order of first appearance.

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
        scores: The scores of the distinct grids; only `product` uses them.
    """
    key = RULES[rule]
    return sorted(choices(candidates), key=lambda choice: key(choice, scores))


Key = Callable[[Choice, Scores], tuple[float, ...]]
"""A sort key: the smaller, the better. Grids with equal keys stay in order of first appearance."""


def _vote_count(choice: Choice, _: Scores) -> tuple[float, ...]:
    """Rank by the number of votes (arc24's first voting rule)."""
    return (-len(choice.votes),)


def _vote_logprob(choice: Choice, _: Scores) -> tuple[float, ...]:
    """Rank by the number of votes, then by the confidence (arc24's second voting rule)."""
    return (-len(choice.votes), -choice.confidence)


def _product(choice: Choice, scores: Scores) -> tuple[float, ...]:
    """Rank by the product of the probabilities in all views (Franzen et al. 2025).

    Grids without a score follow, ranked by `_vote_logprob`.
    """
    if choice.number in scores:
        return (0, -scores[choice.number])
    return (1, *_vote_logprob(choice, scores))


def _best(choice: Choice, _: Scores) -> tuple[float, ...]:
    """Rank by the log-probability of the most probable vote."""
    return (-max(vote.logprob for vote in choice.votes),)


RULES: Mapping[str, Key] = {
    "vote_count": _vote_count,
    "vote_logprob": _vote_logprob,
    "product": _product,
    "best": _best,
}
"""Name of a rule, as in `selection` of `params.yaml` -> its sort key."""
