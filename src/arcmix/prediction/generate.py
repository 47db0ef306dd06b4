"""Answers to prompts (`search`), of which as many advance together as there are rows for.

New prompts take the rows of complete answers (continuous batching).
"""

import collections
import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from transformers import PreTrainedModel

from arcmix.config import scales
from arcmix.prediction import reading, rereading
from arcmix.prediction.drafts import MAX_DRAFT
from arcmix.prediction.language import Language
from arcmix.prediction.reading import Query
from arcmix.prediction.search import SEARCHES, Answer, Asked, Branch
from arcmix.prediction.shapes import Shapes, shapes_of

REFILL = 1 / 4
"""Part of the rows that is free before new prompts take them: the prompts share a pass."""


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
    shapes: Shapes | None = None,
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
        shapes: The shapes of passes; None for those of the model's device.

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
    shapes = shapes or shapes_of(model.device)
    search = SEARCHES[settings.search](model, language, settings, seed, shapes)
    waiting = collections.deque(
        [Asked(query, number) for query in unit] for number, unit in enumerate(units)
    )
    in_progress: dict[int, list[Asked]] = {}
    rows = rereading.rows(model, settings.kv_format, slots, shapes)
    branches: list[Branch] = []
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
            rows = rereading.rows(model, settings.kv_format, slots, shapes)


def _begun(
    waiting: collections.deque[list[Asked]], branches: Sequence[Branch], each: int, most: int
) -> list[Asked]:
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
    begun: list[Asked] = []
    while waiting:
        rows = busy + each * (len(begun) + len(waiting[0]))
        if rows > most and (branches or begun):
            break
        begun += waiting.popleft()
    return begun


def _in_place(branches: Sequence[Branch]) -> list[Branch]:
    """Return the branches in an order in which most of them keep their row."""
    seats: dict[int, Branch] = {}
    for branch in branches:
        if branch.row < len(branches):
            seats.setdefault(branch.row, branch)
    others = [branch for branch in branches if seats.get(branch.row) is not branch]
    return [seats[row] if row in seats else others.pop() for row in range(len(branches))]
