"""Answers to a batch of prompts, by greedy, sampling, beam or depth-first search.

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
from arcmix.prediction import reading, rereading
from arcmix.prediction.drafts import continuation
from arcmix.prediction.grammar import State
from arcmix.prediction.kv_cache import Rows
from arcmix.prediction.language import TOP, Language, Ranking
from arcmix.prediction.reading import Query

MAX_DRAFT = 64
"""Largest number of draft tokens that one pass reads."""

PASS_COST = {"cpu": 24, "other": 256}
"""Fixed cost of a forward pass by type of device, in units of the cost of one token. It is measured
on a CPU (docs/benchmarks.md). An accelerator can compute about as many tokens in the time that it
takes to load the weights from memory."""

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


@dataclass
class _Branch:
    """An incomplete answer."""

    query: int
    """Number of the query."""
    state: State
    """State of the grammar after the tokens."""
    tokens: list[int] = field(default_factory=list)
    """Token ids generated so far."""
    logprob: float = 0.0
    """Sum of the tokens' log-probabilities, in nats."""
    number: int = 0
    """Number of the sample among the samples of the query."""
    row: int = 0
    """The row in which the model has read all tokens but the last."""
    acceptance: float = INITIAL_ACCEPTANCE
    """Estimated probability that the next draft token is accepted."""


def answer(
    model: PreTrainedModel,
    queries: Sequence[Query],
    language: Language,
    settings: scales.Predict,
    seed: int,
) -> list[list[Answer]]:
    """Return the answers to each query, the most probable first.

    Args:
        model: A causal language model.
        queries: The prompts; they form one batch.
        language: The tokens that an answer may consist of.
        settings: The search.
        seed: The experiment's seed.

    Returns:
        For each query: one answer of greedy search; `width` samples, of which some may be equal; up
        to `width` answers of beam search; or all answers of depth-first search that end with a
        probability of at least `threshold`, possibly none.

    Raises:
        ValueError: If a log-probability is not finite, or if no token of the vocabulary continues
            an answer to a grid.
    """
    model.eval()
    longest = max(len(query.tokens) for query in queries)
    slots = longest + language.budget + MAX_DRAFT if settings.kv_static else 0
    rows = rereading.rows(model, settings.kv_format, slots)
    with torch.inference_mode():
        if settings.search == "greedy":
            return _greedy(rows, queries, language)
        return _branching(rows, queries, language, settings, seed)


def _greedy(rows: Rows, queries: Sequence[Query], language: Language) -> list[list[Answer]]:
    branches = [_Branch(number, language.start) for number in range(len(queries))]
    found: dict[int, Answer] = {}
    drafts = [_draft(queries[branch.query], branch, language) for branch in branches]
    length = _draft_length(rows, branches, drafts)
    logits = reading.read_prompts(rows, queries, [draft[:length] for draft in drafts])
    while True:
        unfinished, rejected = [], []
        ranking = _ranking(logits, 1, language)
        for row, (branch, draft) in enumerate(zip(branches, drafts, strict=True)):
            read = len(draft[:length])
            own = [ranking.at(row, place) for place in range(-read - 1, 0)]
            ended, accepted = _accept(branch, draft, own, language)
            rejected.append(read - accepted)
            if ended or len(branch.tokens) == language.budget:
                found[branch.query] = Answer(tuple(branch.tokens), branch.logprob, ended)
            else:
                unfinished.append(row)
        if not unfinished:
            return [[found[number]] for number in range(len(queries))]
        rows.discard(rejected)
        rows.select(unfinished)
        branches = [branches[row] for row in unfinished]
        drafts = [_draft(queries[branch.query], branch, language) for branch in branches]
        length = _draft_length(rows, branches, drafts)
        new = [
            [branch.tokens[-1], *draft[:length]]
            for branch, draft in zip(branches, drafts, strict=True)
        ]
        logits = rows.read(new, max(map(len, new)))


def _draft(query: Query, branch: _Branch, language: Language) -> list[int]:
    """Return the draft tokens that continue a branch, one less than the rest of the budget.

    The pass that reads them gives one token more.
    """
    room = language.budget - len(branch.tokens) - 1
    return continuation(query.draft, branch.tokens)[:room].tolist()


def _draft_length(rows: Rows, branches: Sequence[_Branch], drafts: Sequence[Sequence[int]]) -> int:
    """Return the number of draft tokens to read that maximizes the expected tokens per cost.

    It is the same for all branches, because shorter rows are padded to the longest.

    Args:
        rows: The rows that read the drafts.
        branches: The branches.
        drafts: For each branch, the draft tokens that continue it.
    """
    sizes = np.arange(MAX_DRAFT + 1)
    rates = np.array([branch.acceptance for branch in branches])[:, None]
    available = sizes <= np.array([len(draft) for draft in drafts])[:, None]
    expected = (rates**sizes * available).cumsum(axis=1).sum(axis=0)
    cost = PASS_COST.get(rows.model.device.type, PASS_COST["other"])
    return int((expected / (cost + len(branches) * (1 + sizes))).argmax())


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
    branch: _Branch,
    draft: Sequence[int],
    places: Sequence[Iterator[tuple[int, float]]],
    language: Language,
) -> tuple[bool, int]:
    """Append the accepted draft tokens to a branch, and one token after them.

    Args:
        branch: The branch; it is changed in place.
        draft: The draft tokens that continue it; the model has read the first ones.
        places: The tokens and log-probabilities before each draft token read and after the last, by
            descending log-probability.
        language: The tokens that an answer may consist of.

    Returns:
        Whether the answer has ended, and the number of accepted draft tokens.

    Raises:
        ValueError: If a log-probability is not finite, or if no token is allowed.
    """
    for place, ranked in enumerate(places):
        options = _allowed(branch, ranked, -math.inf, language)
        found = next(options, None)
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
        if place == len(draft):
            return False, place
        accepted = draft[place] == token
        branch.acceptance += ACCEPTANCE_WEIGHT * (accepted - branch.acceptance)
        if not accepted or place == len(places) - 1:
            return False, place
    raise AssertionError("unreachable: the model reads no more tokens than the draft has")


def _branching(
    rows: Rows,
    queries: Sequence[Query],
    language: Language,
    settings: scales.Predict,
    seed: int,
) -> list[list[Answer]]:
    copies = settings.width if settings.search == "sample" else 1
    branches = [
        _Branch(query, language.start, number=number)
        for query in range(len(queries))
        for number in range(copies)
    ]
    logits = reading.read_prompts(rows, queries, [()] * len(queries))
    # The row of each branch; at first, the branches of a query share a row.
    parents = [branch.query for branch in branches]
    found: list[list[Answer]] = [[] for _ in queries]
    while branches:
        children: dict[int, list[_Branch]] = {number: [] for number in range(len(queries))}
        options = _options(branches, parents, logits[:, -1], queries, language, settings, seed)
        for branch, row, own in zip(branches, parents, options, strict=True):
            children[branch.query] += [
                dataclasses.replace(
                    branch,
                    state=state,
                    tokens=[*branch.tokens, token],
                    logprob=branch.logprob + logprob,
                    row=row,
                )
                for token, logprob, state in own
            ]
        if settings.search == "beam":
            children = {
                query: _best(own, found[query], settings.width) for query, own in children.items()
            }
        branches = []
        for query, own in children.items():
            for child in own:
                if child.tokens[-1] == language.end:
                    found[query].append(Answer(tuple(child.tokens[:-1]), child.logprob, ended=True))
                elif len(child.tokens) < language.budget:
                    branches.append(child)
                elif settings.search != "dfs":
                    found[query].append(Answer(tuple(child.tokens), child.logprob, ended=False))
        if branches:
            rows.select([branch.row for branch in branches])
            logits = rows.read([[branch.tokens[-1]] for branch in branches], 1)
            parents = [*range(len(branches))]
    most = settings.width if settings.search == "beam" else None
    return [sorted(answers, key=lambda one: -one.logprob)[:most] for answers in found]


def _best(children: Sequence[_Branch], found: Sequence[Answer], width: int) -> list[_Branch]:
    """Return the branches that stay in the beam; an answer that ended keeps its place in it."""
    ranked = sorted([*children, *found], key=lambda one: -one.logprob)
    return [one for one in ranked[:width] if isinstance(one, _Branch)]


def _options(
    branches: Sequence[_Branch],
    parents: Sequence[int],
    logits: torch.Tensor,
    queries: Sequence[Query],
    language: Language,
    settings: scales.Predict,
    seed: int,
) -> Iterator[Iterator[tuple[int, float, State]]]:
    """Yield the options of each branch: tokens that may continue it, log-probabilities, states.

    Args:
        branches: The branches.
        parents: The row of each branch.
        logits: Logits (rows, vocabulary).
        queries: The prompts.
        language: The tokens that an answer may consist of.
        settings: The search.
        seed: The experiment's seed.
    """
    if settings.search == "sample":
        yield from _drawn(branches, parents, logits, queries, language, settings, seed)
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
    queries: Sequence[Query],
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
            f"{queries[branch.query].purpose}/{branch.number}",
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
