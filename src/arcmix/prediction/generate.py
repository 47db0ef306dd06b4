"""Answers to many prompts at once, by greedy choice, sampling, beam or depth-first search.

Greedy choice reads a guess of what comes next along with what is settled, and keeps as much of
it as it would have chosen itself (speculative decoding, Leviathan et al. 2023, with a draft in
place of a draft model): the answer is the same, in fewer passes.

The depth-first search of the ARChitects (2024) finds all answers above a probability. Here its
branches advance together, a token a pass. The answers are the same, since a branch lives by its
own probability alone, and there are never more than one over the threshold of them.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import PreTrainedModel

from arcmix import randomness
from arcmix.config import scales
from arcmix.prediction import reading
from arcmix.prediction.drafts import continuation
from arcmix.prediction.grammar import State
from arcmix.prediction.kv_cache import Rows
from arcmix.prediction.language import Language
from arcmix.prediction.reading import Query

WINDOW = 64
"""Most tokens of a draft that are read at once."""

PASS = {"cpu": 24, "other": 256}
"""How many tokens more a pass could read in the time that it takes for none. Of a processor it is
measured (docs/benchmarks.md); accelerators have arithmetic for so many while they read weights."""

RIGHT, FADE = 0.8, 1 / 8
"""How probable a draft's next token is held to be right at first, and the weight of the last one
seen in that."""


@dataclass(frozen=True)
class Answer:
    """The tokens that a model gave, without the end token."""

    tokens: tuple[int, ...]
    """Token ids up to the end of the answer, or up to the budget."""
    logprob: float
    """Summed log-probability of the tokens and of the end token, in nats, whatever a grammar
    or a temperature had to say."""
    ended: bool
    """Whether the end token came within the budget."""


@dataclass
class _Branch:
    """An answer as far as it is written."""

    query: int
    state: State
    written: list[int] = field(default_factory=list)
    logprob: float = 0.0
    number: int = 0
    """Of the samples of a query."""
    row: int = 0
    """Where the model has read it."""
    right: float = RIGHT
    """How probable the next token of its draft is the right one."""


def answer(
    model: PreTrainedModel,
    queries: Sequence[Query],
    language: Language,
    settings: scales.Predict,
    seed: int,
) -> list[list[Answer]]:
    """Return the answers to each query, the most probable first; all queries are one batch.

    Args:
        model: A causal language model.
        queries: The prompts.
        language: What an answer may be.
        settings: How it is searched for.
        seed: The experiment's seed.

    Returns:
        One answer for each query by greedy choice; `width` of them by sampling, maybe equal
        ones; at most `width` by beam search; and by depth-first search those that end and are
        not less probable than `threshold`, maybe none.

    Raises:
        ValueError: If the model gives no finite logits.
    """
    model.eval()
    longest = max(len(query.tokens) for query in queries)
    slots = longest + language.budget + WINDOW if settings.kv_static else 0
    rows = Rows(model, settings.kv_format, slots)
    with torch.inference_mode():
        if settings.search == "greedy":
            return _greedy(rows, queries, language)
        return _branching(rows, queries, language, settings, seed)


def _greedy(rows: Rows, queries: Sequence[Query], language: Language) -> list[list[Answer]]:
    branches = [_Branch(number, language.start) for number in range(len(queries))]
    found: dict[int, Answer] = {}
    guesses = [_guess(queries[branch.query], branch, language) for branch in branches]
    window = _window(rows, branches, guesses)
    logits = reading.read_prompts(rows, queries, [guess[:window] for guess in guesses])
    while True:
        going, struck = [], []
        for row, (branch, guess) in enumerate(zip(branches, guesses, strict=True)):
            read = len(guess[:window])
            ended, kept = _settle(branch, guess, logits[row, -read - 1 :], language)
            struck.append(read - kept)
            if ended or len(branch.written) == language.budget:
                found[branch.query] = Answer(tuple(branch.written), branch.logprob, ended)
            else:
                going.append(row)
        if not going:
            return [[found[number]] for number in range(len(queries))]
        rows.strike(struck)
        rows.take(going)
        branches = [branches[row] for row in going]
        guesses = [_guess(queries[branch.query], branch, language) for branch in branches]
        window = _window(rows, branches, guesses)
        new = [
            [branch.written[-1], *guess[:window]]
            for branch, guess in zip(branches, guesses, strict=True)
        ]
        logits = rows.read(new, max(map(len, new)))


def _guess(query: Query, branch: _Branch, language: Language) -> list[int]:
    """Return the tokens of the draft that may come next, the last within the budget left out."""
    room = language.budget - len(branch.written) - 1
    return continuation(query.draft, branch.written)[:room].tolist()


def _window(rows: Rows, branches: Sequence[_Branch], guesses: Sequence[Sequence[int]]) -> int:
    """Return how many tokens of each guess to read along, for most tokens settled in a time.

    All get as many, since a pass takes for the others what it takes for the longest.

    Args:
        rows: The rows that read.
        branches: The answers so far.
        guesses: The tokens that may come next in each.
    """
    sizes = np.arange(WINDOW + 1)
    right = np.array([branch.right for branch in branches])[:, None]
    there = sizes <= np.array([len(guess) for guess in guesses])[:, None]
    settled = (right**sizes * there).cumsum(axis=1).sum(axis=0)
    cost = PASS.get(rows.model.device.type, PASS["other"])
    return int((settled / (cost + len(branches) * (1 + sizes))).argmax())


def _settle(
    branch: _Branch, guess: Sequence[int], logits: torch.Tensor, language: Language
) -> tuple[bool, int]:
    """Write on in a branch as long as the tokens read are those that the model chooses.

    Args:
        branch: It is written to.
        guess: Tokens of the draft, of which the first were read.
        logits: Before each of these and after the last, (read + 1, vocabulary).
        language: What an answer may be.

    Returns:
        Whether the answer is at its end, and how many of the tokens read are in it.
    """
    exact = logits.float()
    tops, picked = exact.max(dim=-1)
    logprobs = (tops - exact.logsumexp(dim=-1)).tolist()
    for place, (choice, top) in enumerate(zip(picked.tolist(), logprobs, strict=True)):
        _check(top, branch)
        token, logprob, first = choice, top, not branch.written
        state = language.after(branch.state, token, first=first)
        if state is None:
            row = exact[place].log_softmax(dim=-1)
            best = next(language.options(branch.state, row, -math.inf, first=first), None)
            if best is None:
                raise ValueError(
                    f"no token goes on with a grid after {len(branch.written)} tokens;"
                    " predict without the grammar"
                )
            token, state = best
            logprob = float(row[token])
        branch.logprob += logprob
        if token == language.end:
            return True, place
        branch.written.append(token)
        branch.state = state
        if place == len(guess):
            return False, place
        agreed = guess[place] == token
        branch.right += FADE * (agreed - branch.right)
        if not agreed or place == len(logits) - 1:
            return False, place
    raise AssertionError("unreachable: no more tokens are read than guessed")


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
    # The row of each branch; at first those of a query share one.
    parents = [branch.query for branch in branches]
    found: list[list[Answer]] = [[] for _ in queries]
    while branches:
        logprobs = logits[:, -1].float().log_softmax(dim=-1)
        grown: dict[int, list[_Branch]] = {number: [] for number in range(len(queries))}
        for branch, row in zip(branches, parents, strict=True):
            _check(float(logprobs[row].max()), branch)
            options = _options(branch, logprobs[row], queries, language, settings, seed)
            grown[branch.query] += [
                dataclasses.replace(
                    branch,
                    state=state,
                    written=[*branch.written, token],
                    logprob=branch.logprob + float(logprobs[row, token]),
                    row=row,
                )
                for token, state in options
            ]
        if settings.search == "beam":
            grown = {
                query: _best(children, found[query], settings.width)
                for query, children in grown.items()
            }
        branches = []
        for query, children in grown.items():
            for child in children:
                if child.written[-1] == language.end:
                    found[query].append(
                        Answer(tuple(child.written[:-1]), child.logprob, ended=True)
                    )
                elif len(child.written) < language.budget:
                    branches.append(child)
                elif settings.search != "dfs":
                    found[query].append(Answer(tuple(child.written), child.logprob, ended=False))
        if branches:
            rows.take([branch.row for branch in branches])
            logits = rows.read([[branch.written[-1]] for branch in branches], 1)
            parents = [*range(len(branches))]
    most = settings.width if settings.search == "beam" else None
    return [sorted(answers, key=lambda one: -one.logprob)[:most] for answers in found]


def _best(children: Sequence[_Branch], found: Sequence[Answer], width: int) -> list[_Branch]:
    """Return the branches that a beam goes on with: an answer that ended keeps its place."""
    ranked = sorted([*children, *found], key=lambda one: -one.logprob)
    return [one for one in ranked[:width] if isinstance(one, _Branch)]


def _options(
    branch: _Branch,
    logprobs: torch.Tensor,
    queries: Sequence[Query],
    language: Language,
    settings: scales.Predict,
    seed: int,
) -> Iterator[tuple[int, State]]:
    """Yield the tokens that a branch may go on with, and the state after each.

    Args:
        branch: The branch.
        logprobs: Of all tokens, (vocabulary,).
        queries: The prompts.
        language: What an answer may be.
        settings: How it is searched for.
        seed: The experiment's seed.
    """
    allowed = functools.partial(language.options, branch.state, first=not branch.written)
    if settings.search == "sample":
        # The largest after Gumbel noise is a draw from the softmax (Gumbel-max), and the largest
        # that the grammar allows is one from that of the allowed.
        purpose = f"{queries[branch.query].purpose}/{branch.number}"
        words = randomness.words(seed, purpose, len(branch.written), 1, len(logprobs))[0]
        noise = -np.log(-np.log(randomness.uniform(words) + 2.0**-54))
        keys = logprobs.double().cpu() / settings.temperature + torch.from_numpy(noise)
        return itertools.islice(allowed(keys, -math.inf), 1)
    if settings.search == "beam":
        return itertools.islice(allowed(logprobs, -math.inf), settings.width)
    return allowed(logprobs, math.log(settings.threshold) - branch.logprob)


def _check(logprob: float, branch: _Branch) -> None:
    if not math.isfinite(logprob):
        raise ValueError(
            f"the model gives a log-probability of {logprob} after {len(branch.written)} tokens;"
            " train and predict in bfloat16 or float32"
        )
