"""Which tokens continue an answer: greedy, sampling, beam or depth-first search.

Greedy search uses speculative decoding (Leviathan et al. 2023) with a given draft instead of a
draft model. A forward pass reads several draft tokens, and those that greedy search would have
chosen are accepted. The answer is the same, in fewer passes.

The depth-first search of the ARChitects (2024) finds all answers above a probability threshold.
Here all its branches advance together, one token per pass. The answers are the same, because a
branch is kept or cut by its own probability. There are never more than 1 / threshold branches.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import PreTrainedModel

from arcmix import randomness
from arcmix.config import scales
from arcmix.prediction.drafts import MAX_DRAFT, continuation
from arcmix.prediction.grammar import State
from arcmix.prediction.language import TOP, Language, Ranking
from arcmix.prediction.pass_cost import pass_cost
from arcmix.prediction.reading import Query
from arcmix.prediction.shapes import Shapes, rounded

MAX_PASS = 4096
"""Largest number of tokens of a pass with drafts: the logits of all of them take memory."""

INITIAL_ACCEPTANCE = 0.8
"""Initial estimate of the probability that a draft token is accepted."""

ACCEPTANCE_WEIGHT = 1 / 8
"""Weight of the latest draft token in the moving average of that estimate."""


@dataclass(frozen=True)
class Answer:
    """An answer of a model."""

    tokens: tuple[int, ...]
    """Token ids without the end token."""
    logprob: float
    """Sum of the model's log-probabilities of the tokens and of the end token, in nats. Neither the
    grammar nor the temperature changes it."""
    ended: bool
    """Whether the model gave the end token within the budget."""


@dataclass(eq=False)
class Asked:
    """A query in progress."""

    query: Query
    """The prompt."""
    unit: int
    """Number of its unit."""
    found: list[Answer] = field(default_factory=list)
    """The complete answers to it."""


@dataclass
class Branch:
    """An incomplete answer."""

    asked: Asked
    """The query that it answers."""
    row: int
    """The row in which the model has read all tokens but the last."""
    state: State
    """State of the grammar after the tokens."""
    tokens: list[int] = field(default_factory=list)
    """Token ids generated so far."""
    logprob: float = 0.0
    """Sum of the tokens' log-probabilities, in nats."""
    number: int = 0
    """Number of the sample among the samples of the query."""
    draft: Sequence[int] = ()
    """Draft tokens that continue it."""
    read: int = 0
    """Number of the draft tokens that a pass reads."""
    rejected: int = 0
    """Number of draft tokens that a pass read and that were not accepted."""
    acceptance: float = INITIAL_ACCEPTANCE
    """Estimated probability that the next draft token is accepted."""


class Greedy:
    """Greedy search with drafts.

    Args:
        model: The model.
        language: The tokens that an answer may consist of.
        settings: The search.
        seed: The experiment's seed.
        shapes: The shapes of passes.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        language: Language,
        settings: scales.Predict,
        seed: int,
        shapes: Shapes,
    ) -> None:
        self._language, self._settings, self._seed = language, settings, seed
        self._model = model
        step = shapes.tokens
        # One token more is read than the draft has.
        self._sizes = np.array(
            [size for size in range(MAX_DRAFT + 1) if rounded(1 + size, step) == 1 + size]
        )

    def start(self, asked: Asked, row: int) -> list[Branch]:
        """Return the branches of a query before their first token."""
        return [self._drafted(Branch(asked, row, self._language.start))]

    def choose_length(self, branches: Sequence[Branch]) -> None:
        """Choose the number of draft tokens to read: the most expected tokens per cost of a pass.

        It is the same for all branches, because shorter rows are padded to the longest.
        """
        if not any(branch.draft for branch in branches):
            return
        every = np.arange(MAX_DRAFT + 1)
        rates = np.array([branch.acceptance for branch in branches])[:, None]
        available = every <= np.array([len(branch.draft) for branch in branches])[:, None]
        expected = (rates**every * available).cumsum(axis=1).sum(axis=0)[self._sizes]
        tokens = len(branches) * (1 + self._sizes)
        gain = expected / (pass_cost(self._model) + tokens)
        gain[1:][tokens[1:] > MAX_PASS] = 0
        length = int(self._sizes[gain.argmax()])
        for branch in branches:
            branch.read = min(length, len(branch.draft))

    def advance(self, branches: Sequence[Branch], logits: torch.Tensor, first: int) -> list[Branch]:
        """Return the branches that go on after a pass; complete answers go to their queries.

        Args:
            branches: The branches.
            logits: Logits of their rows, (rows, tokens, vocabulary).
            first: The row of the first logits.
        """
        ranking = _ranking(logits, 1, self._language)
        kept = []
        for branch in branches:
            ranked = [ranking.at(branch.row - first, place) for place in range(branch.read + 1)]
            ended, accepted = _accept(branch, ranked, self._language)
            if ended or len(branch.tokens) == self._language.budget:
                answer = Answer(tuple(branch.tokens), branch.logprob, ended)
                branch.asked.found.append(answer)
            else:
                branch.rejected = branch.read - accepted
                kept.append(self._drafted(branch))
        return kept

    def best(self, found: Sequence[Answer]) -> list[Answer]:
        """Return the answers to a query, the most probable first."""
        most = self._settings.width if self._settings.search == "beam" else None
        return sorted(found, key=lambda one: -one.logprob)[:most]

    def _drafted(self, branch: Branch) -> Branch:
        """Give a branch the draft tokens that continue it, one less than the rest of the budget.

        The pass that reads them gives one token more.
        """
        room = self._language.budget - len(branch.tokens) - 1
        branch.draft = continuation(branch.asked.query.draft, branch.tokens)[:room].tolist()
        branch.read = 0
        return branch


def _ranking(logits: torch.Tensor, least: int, language: Language) -> Ranking:
    """Return the log-probabilities of the tokens that answers may contain, ranked at each place.

    Args:
        logits: Logits (rows, places, vocabulary).
        least: Number of tokens of each place that are needed at least.
        language: The tokens that an answer may consist of.
    """
    exact = logits.float()
    return language.ranking(exact, exact.logsumexp(dim=-1, keepdim=True), least)


def _accept(
    branch: Branch, places: Sequence[Iterator[tuple[int, float]]], language: Language
) -> tuple[bool, int]:
    """Append the accepted draft tokens to a branch, and one token after them.

    Args:
        branch: The branch; it is changed in place.
        places: The tokens and log-probabilities before each draft token read and after the last, by
            descending log-probability.
        language: The tokens that an answer may consist of.

    Returns:
        Whether the answer has ended, and the number of accepted draft tokens.

    Raises:
        ValueError: If a log-probability is not finite, or if no token is allowed.
    """
    for place, ranked in enumerate(places):
        found = next(_allowed(branch, ranked, -math.inf, language), None)
        if found is None:
            raise ValueError(
                f"no token of the vocabulary continues an answer to a grid after"
                f" {len(branch.tokens)} tokens; the grammar needs a token for every character"
                " of a grid, so set predict.grammar to false"
            )
        token, logprob, branch.state = found
        branch.logprob += logprob
        if token == language.end:
            return True, place
        branch.tokens.append(token)
        if place == len(branch.draft):
            return False, place
        accepted = branch.draft[place] == token
        branch.acceptance += ACCEPTANCE_WEIGHT * (accepted - branch.acceptance)
        if not accepted or place == len(places) - 1:
            return False, place
    raise AssertionError("unreachable: the model reads no more tokens than the draft has")


class Branching(Greedy):
    """Beam and depth-first search: several branches for a query, without drafts."""

    def start(self, asked: Asked, row: int) -> list[Branch]:
        """Return the branches of a query before their first token."""
        return [Branch(asked, row, self._language.start)]

    def advance(self, branches: Sequence[Branch], logits: torch.Tensor, first: int) -> list[Branch]:
        """Return the branches that go on after a pass; complete answers go to their queries."""
        language, settings = self._language, self._settings
        children: dict[Asked, list[Branch]] = {branch.asked: [] for branch in branches}
        parents = [branch.row - first for branch in branches]
        options = self._options(branches, parents, logits[:, 0])
        for branch, own in zip(branches, options, strict=True):
            children[branch.asked] += [
                dataclasses.replace(
                    branch,
                    state=state,
                    tokens=[*branch.tokens, token],
                    logprob=branch.logprob + logprob,
                )
                for token, logprob, state in own
            ]
        kept = []
        for asked, own in children.items():
            beam = settings.search == "beam"
            for child in _best(own, asked.found, settings.width) if beam else own:
                if child.tokens[-1] == language.end:
                    asked.found.append(Answer(tuple(child.tokens[:-1]), child.logprob, ended=True))
                elif len(child.tokens) < language.budget:
                    kept.append(child)
                elif settings.search != "dfs":
                    asked.found.append(Answer(tuple(child.tokens), child.logprob, ended=False))
        return kept

    def _options(
        self, branches: Sequence[Branch], parents: Sequence[int], logits: torch.Tensor
    ) -> Iterator[Iterator[tuple[int, float, State]]]:
        """Yield the options of each branch: tokens that may continue it, log-probabilities, states.

        Args:
            branches: The branches.
            parents: The row of each branch.
            logits: Logits (rows, vocabulary).
        """
        settings, language = self._settings, self._language
        beam = settings.search == "beam"
        ranking = _ranking(logits, settings.width if beam else TOP, language)
        for branch, row in zip(branches, parents, strict=True):
            floor = -math.inf if beam else math.log(settings.threshold) - branch.logprob
            options = _allowed(branch, ranking.at(row), floor, language)
            yield itertools.islice(options, settings.width) if beam else options


class Sampling(Branching):
    """Several samples for a query, drawn by the probabilities.

    With Gumbel noise, the largest key is a draw from the softmax (Gumbel-max trick), and the
    largest key among the allowed tokens is a draw from the softmax over these.
    """

    def start(self, asked: Asked, row: int) -> list[Branch]:
        """Return the branches of a query before their first token."""
        start = self._language.start
        return [Branch(asked, row, start, number=number) for number in range(self._settings.width)]

    def _options(
        self, branches: Sequence[Branch], parents: Sequence[int], logits: torch.Tensor
    ) -> Iterator[Iterator[tuple[int, float, State]]]:
        """Yield one option of each branch."""
        logprobs = logits.float().log_softmax(dim=-1).cpu().numpy()
        noise = [
            randomness.words(
                self._seed,
                f"{branch.asked.query.purpose}/{branch.number}",
                len(branch.tokens),
                1,
                logprobs.shape[-1],
            )[0]
            for branch in branches
        ]
        gumbel = -np.log(-np.log(randomness.uniform(np.stack(noise)) + 2.0**-54))
        exact = logprobs[[*parents]].astype(np.float64)
        keys = torch.from_numpy(exact / self._settings.temperature + gumbel)
        ranking = self._language.ranking(keys, keys.new_zeros(len(keys), 1), 1)
        for number, (branch, row) in enumerate(zip(branches, parents, strict=True)):
            options = _allowed(branch, ranking.at(number), -math.inf, self._language)
            yield (
                (token, float(logprobs[row, token]), state)
                for token, _, state in itertools.islice(options, 1)
            )


def _best(children: Sequence[Branch], found: Sequence[Answer], width: int) -> list[Branch]:
    """Return the branches that stay in the beam; an answer that ended keeps its place in it."""
    ranked = sorted([*children, *found], key=lambda one: -one.logprob)
    return [one for one in ranked[:width] if isinstance(one, Branch)]


def _allowed(
    branch: Branch, ranked: Iterator[tuple[int, float]], floor: float, language: Language
) -> Iterator[tuple[int, float, State]]:
    """Yield the options of a branch (`Language.options`).

    Raises:
        ValueError: If the first key is not finite.
    """
    first = next(ranked)
    if not math.isfinite(first[1]):
        raise ValueError(
            f"the model gives a log-probability of {first[1]} after {len(branch.tokens)} tokens; it"
            " must be finite, so train and predict in bfloat16 or float32"
        )
    tokens = itertools.chain([first], ranked)
    yield from language.options(branch.state, tokens, floor, first=not branch.tokens)


SEARCHES = {"greedy": Greedy, "sample": Sampling, "beam": Branching, "dfs": Branching}
"""Name of a search (`scales.Predict`) -> its class."""
