"""Answers to prompts, by greedy, sampling, beam or depth-first search.

Greedy search uses speculative decoding (Leviathan et al. 2023) with a given draft instead of a
draft model. A forward pass reads several draft tokens, and those that greedy search would have
chosen are accepted. The answer is the same, in fewer passes.

The depth-first search of the ARChitects (2024) finds all answers above a probability threshold.
Here all its branches advance together, one token per pass. The answers are the same, because a
branch is kept or cut by its own probability. There are never more than 1 / threshold branches.

All answers in progress advance together, and new prompts take the rows of complete answers
(continuous batching).
"""

import collections
import dataclasses
import functools
import itertools
import math
import statistics
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import PreTrainedModel

from arcmix import randomness
from arcmix.config import scales
from arcmix.prediction import kv_cache, reading, rereading
from arcmix.prediction.drafts import continuation
from arcmix.prediction.grammar import State
from arcmix.prediction.language import TOP, Language, Ranking
from arcmix.prediction.reading import Query

MAX_DRAFT = 64
"""Largest number of draft tokens that one pass reads."""

MAX_PASS = 4096
"""Largest number of tokens of a pass with drafts: the logits of all of them take memory."""

CPU_PASS_COST = 24
"""Fixed cost of a forward pass on a CPU, in units of the cost of one token (docs/benchmarks.md). It
is no measurement of the run, so that the passes of two runs are the same."""

LARGEST_PASS_COST = 2**16
"""Limit on a measured cost: the time of further tokens may be too short to measure."""

PROBED_ROWS = 16
"""Number of rows of the passes that are timed."""

WARM_UP, TIMED = 2, 5
"""Number of passes before the timed ones, and number of timed passes."""

INITIAL_ACCEPTANCE = 0.8
"""Initial estimate of the probability that a draft token is accepted."""

ACCEPTANCE_WEIGHT = 1 / 8
"""Weight of the latest draft token in the moving average of that estimate."""


REFILL = 1 / 4
"""Part of the rows that is free before new prompts take them: the prompts share a pass."""


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
class _Asked:
    """A query in progress."""

    query: Query
    """The prompt."""
    unit: int
    """Number of its unit."""
    found: list[Answer] = field(default_factory=list)
    """The complete answers to it."""


@dataclass
class _Branch:
    """An incomplete answer."""

    asked: _Asked
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


_costs: weakref.WeakKeyDictionary[PreTrainedModel, float] = weakref.WeakKeyDictionary()


def pass_cost(model: PreTrainedModel) -> float:
    """Return the fixed cost of a forward pass, in units of the cost of one token.

    It decides how many draft tokens a pass reads, which changes answers by rounding only. It is
    measured once for each model on an accelerator.
    """
    if model.device.type == "cpu":
        return CPU_PASS_COST
    if model not in _costs:
        _costs[model] = measured_cost(model, _seconds)
    return _costs[model]


def measured_cost(
    model: PreTrainedModel, seconds: Callable[[Callable[[], object]], float]
) -> float:
    """Return the fixed cost of a pass, given a function that returns the time of some work."""
    rows = rereading.rows(model, "none", 0)
    rows.read([[0]] * PROBED_ROWS)

    def read(count: int) -> None:
        rows.read([[0] * count] * PROBED_ROWS)
        rows.discard([count] * PROBED_ROWS)

    short, long = (seconds(functools.partial(read, count)) for count in (1, MAX_DRAFT))
    token = (long - short) / (PROBED_ROWS * (MAX_DRAFT - 1))
    cost = short / max(token, short / LARGEST_PASS_COST) - PROBED_ROWS
    return max(cost, 0.0)


def _seconds(work: Callable[[], object]) -> float:
    """Return the median time of some work on an accelerator."""
    times = []
    for _ in range(WARM_UP + TIMED):
        torch.accelerator.synchronize()
        started = time.perf_counter()
        work()
        torch.accelerator.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[WARM_UP:])


def rows_of(settings: scales.Predict) -> int:
    """Return the largest number of rows that a query takes."""
    rows = {"greedy": 1, "dfs": math.floor(1 / settings.threshold)}
    return rows.get(settings.search, settings.width)


@torch.inference_mode()
def answers(
    model: PreTrainedModel,
    units: Sequence[Sequence[Query]],
    language: Language,
    settings: scales.Predict,
    seed: int,
    most: int,
) -> Iterator[tuple[int, list[list[Answer]]]]:
    """Yield the answers to the queries of each unit as soon as the unit is complete.

    A unit begins once there are rows for it beside those in progress, or if none is in progress. So
    each unit is answered alone if `most` is 0.

    Args:
        model: A causal language model.
        units: The prompts that begin together; those of a family stand side by side.
        language: The tokens that an answer may consist of.
        settings: The search.
        seed: The experiment's seed.
        most: Limit on the rows in progress; a query counts `rows_of`.

    Yields:
        The number of a unit, and the answers to each of its queries, the most probable first: one
        answer of greedy search; `width` samples, of which some may be equal; up to `width` answers
        of beam search; or all answers of depth-first search that end with a probability of at least
        `threshold`, possibly none.

    Raises:
        ValueError: If a log-probability is not finite, or if no token of the vocabulary continues
            an answer to a grid.
    """
    model.eval()
    longest = max((len(query.tokens) for unit in units for query in unit), default=0)
    slots = longest + language.budget + MAX_DRAFT if settings.kv_static else 0
    kind = _Greedy if settings.search == "greedy" else _Branching
    search = kind(model, language, settings, seed)
    waiting = collections.deque(
        [_Asked(query, number) for query in unit] for number, unit in enumerate(units)
    )
    in_progress: dict[int, list[_Asked]] = {}
    rows = rereading.rows(model, settings.kv_format, slots)
    branches: list[_Branch] = []
    while waiting or branches:
        if begun := _begun(waiting, branches, rows_of(settings), most):
            for asked in begun:
                in_progress.setdefault(asked.unit, []).append(asked)
            first = len(branches)
            logits = reading.read_prompts(rows, [asked.query for asked in begun])
            fresh = [search.start(asked, row) for row, asked in enumerate(begun, first)]
            branches += search.advance([*itertools.chain(*fresh)], logits, first)
        else:
            search.choose_length(branches)
            logits = rows.read([[one.tokens[-1], *one.draft[: one.read]] for one in branches])
            branches = search.advance(branches, logits, 0)
        branches = _in_place(branches)
        rows.select([branch.row for branch in branches])
        rows.discard([branch.rejected for branch in branches])
        for row, branch in enumerate(branches):
            branch.row, branch.rejected = row, 0
        open_units = {branch.asked.unit for branch in branches}
        for unit in [unit for unit in in_progress if unit not in open_units]:
            yield unit, [search.best(asked.found) for asked in in_progress.pop(unit)]
        if not branches:
            rows = rereading.rows(model, settings.kv_format, slots)


def _begun(
    waiting: collections.deque[list[_Asked]], branches: Sequence[_Branch], each: int, most: int
) -> list[_Asked]:
    """Take the units that begin now off the queue, and return their queries.

    Args:
        waiting: The queries of each unit that waits; it is changed in place.
        branches: The branches in progress.
        each: Number of rows of a query.
        most: Limit on the rows in progress.
    """
    busy = each * len({branch.asked for branch in branches})
    if branches and busy > most * (1 - REFILL):
        return []
    begun: list[_Asked] = []
    while waiting:
        rows = busy + each * (len(begun) + len(waiting[0]))
        if rows > most and (branches or begun):
            break
        begun += waiting.popleft()
    return begun


def _in_place(branches: Sequence[_Branch]) -> list[_Branch]:
    """Return the branches in an order in which most of them keep their row."""
    seats: dict[int, _Branch] = {}
    for branch in branches:
        if branch.row < len(branches):
            seats.setdefault(branch.row, branch)
    others = [branch for branch in branches if seats.get(branch.row) is not branch]
    return [seats[row] if row in seats else others.pop() for row in range(len(branches))]


class _Greedy:
    """Greedy search with drafts.

    Args:
        model: The model.
        language: The tokens that an answer may consist of.
        settings: The search.
        seed: The experiment's seed.
    """

    def __init__(
        self, model: PreTrainedModel, language: Language, settings: scales.Predict, seed: int
    ) -> None:
        self._language, self._settings, self._seed = language, settings, seed
        self._model = model
        step = kv_cache.steps(model.device).tokens
        # One token more is read than the draft has.
        self._sizes = np.array(
            [size for size in range(MAX_DRAFT + 1) if kv_cache.rounded(1 + size, step) == 1 + size]
        )

    def start(self, asked: _Asked, row: int) -> list[_Branch]:
        """Return the branches of a query before their first token."""
        return [self._drafted(_Branch(asked, row, self._language.start))]

    def choose_length(self, branches: Sequence[_Branch]) -> None:
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

    def advance(
        self, branches: Sequence[_Branch], logits: torch.Tensor, first: int
    ) -> list[_Branch]:
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

    def _drafted(self, branch: _Branch) -> _Branch:
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
    branch: _Branch, places: Sequence[Iterator[tuple[int, float]]], language: Language
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


class _Branching(_Greedy):
    """Searches with several branches for a query, without drafts."""

    def start(self, asked: _Asked, row: int) -> list[_Branch]:
        """Return the branches of a query before their first token."""
        copies = self._settings.width if self._settings.search == "sample" else 1
        start = self._language.start
        return [_Branch(asked, row, start, number=number) for number in range(copies)]

    def advance(
        self, branches: Sequence[_Branch], logits: torch.Tensor, first: int
    ) -> list[_Branch]:
        """Return the branches that go on after a pass; complete answers go to their queries."""
        language, settings = self._language, self._settings
        children: dict[_Asked, list[_Branch]] = {branch.asked: [] for branch in branches}
        parents = [branch.row - first for branch in branches]
        options = _options(branches, parents, logits[:, 0], language, settings, self._seed)
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


def _best(children: Sequence[_Branch], found: Sequence[Answer], width: int) -> list[_Branch]:
    """Return the branches that stay in the beam; an answer that ended keeps its place in it."""
    ranked = sorted([*children, *found], key=lambda one: -one.logprob)
    return [one for one in ranked[:width] if isinstance(one, _Branch)]


def _options(
    branches: Sequence[_Branch],
    parents: Sequence[int],
    logits: torch.Tensor,
    language: Language,
    settings: scales.Predict,
    seed: int,
) -> Iterator[Iterator[tuple[int, float, State]]]:
    """Yield the options of each branch: tokens that may continue it, log-probabilities, states.

    Args:
        branches: The branches.
        parents: The row of each branch.
        logits: Logits (rows, vocabulary).
        language: The tokens that an answer may consist of.
        settings: The search.
        seed: The experiment's seed.
    """
    if settings.search == "sample":
        yield from _drawn(branches, parents, logits, language, settings, seed)
        return
    beam = settings.search == "beam"
    ranking = _ranking(logits, settings.width if beam else TOP, language)
    for branch, row in zip(branches, parents, strict=True):
        floor = -math.inf if beam else math.log(settings.threshold) - branch.logprob
        options = _allowed(branch, ranking.at(row), floor, language)
        yield itertools.islice(options, settings.width) if beam else options


def _drawn(
    branches: Sequence[_Branch],
    parents: Sequence[int],
    logits: torch.Tensor,
    language: Language,
    settings: scales.Predict,
    seed: int,
) -> Iterator[Iterator[tuple[int, float, State]]]:
    """Yield one option of each branch, drawn by the probabilities (`_options`).

    With Gumbel noise, the largest key is a draw from the softmax (Gumbel-max trick), and the
    largest key among the allowed tokens is a draw from the softmax over these.
    """
    logprobs = logits.float().log_softmax(dim=-1).cpu().numpy()
    noise = [
        randomness.words(
            seed,
            f"{branch.asked.query.purpose}/{branch.number}",
            len(branch.tokens),
            1,
            logprobs.shape[-1],
        )[0]
        for branch in branches
    ]
    gumbel = -np.log(-np.log(randomness.uniform(np.stack(noise)) + 2.0**-54))
    exact = logprobs[[*parents]].astype(np.float64)
    keys = torch.from_numpy(exact / settings.temperature + gumbel)
    ranking = language.ranking(keys, keys.new_zeros(len(keys), 1), 1)
    for number, (branch, row) in enumerate(zip(branches, parents, strict=True)):
        options = _allowed(branch, ranking.at(number), -math.inf, language)
        yield (
            (token, float(logprobs[row, token]), state)
            for token, _, state in itertools.islice(options, 1)
        )


def _allowed(
    branch: _Branch, ranked: Iterator[tuple[int, float]], floor: float, language: Language
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
