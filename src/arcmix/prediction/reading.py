"""The reading of prompts: what the prompts of a family have in common is read once."""

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from arcmix.prediction.kv_cache import Rows


@dataclass(frozen=True)
class Query:
    """A prompt to answer."""

    tokens: np.ndarray
    """Token ids, int32 (n,)."""
    draft: np.ndarray
    """Token ids of a guess of the answer, int32 (m,), maybe none."""
    family: Hashable
    """Queries of one family begin alike, and the beginning is read once."""
    purpose: str
    """What its samples are drawn for."""


def read_prompts(
    rows: Rows, queries: Sequence[Query], offers: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Read prompts as the first thing, what those of a family have in common once.

    A processor reads one family after the other: one prompt keeps its cores busy, and several
    side by side would take longer, for their padding and masks.

    Args:
        rows: Rows that have read nothing yet.
        queries: The prompts.
        offers: What each row reads after its prompt.

    Returns:
        Logits after the last token of each prompt and after what follows, as `Rows.read` gives
        them.
    """
    families: dict[Hashable, list[int]] = {}
    for number, query in enumerate(queries):
        families.setdefault(query.family, []).append(number)
    prompts = [query.tokens.tolist() for query in queries]
    keep = max(map(len, offers)) + 1
    if rows.model.device.type != "cpu":
        return _read_prompts(rows, [*families.values()], prompts, offers, keep)
    parts, logits = [], []
    for own in families.values():
        part = Rows(rows.model, rows.format, 0)
        members = [[*range(len(own))]]
        shown = [prompts[number] for number in own], [offers[number] for number in own]
        after = _read_prompts(part, members, *shown, keep)
        # A short prompt has fewer logits.
        logits.append(torch.nn.functional.pad(after, (0, 0, keep - after.shape[1], 0)))
        parts.append(part)
    rows.gather(parts)
    places = np.argsort([number for own in families.values() for number in own]).tolist()
    rows.take(places)
    return torch.cat(logits)[places]


def _read_prompts(
    rows: Rows,
    families: Sequence[Sequence[int]],
    prompts: Sequence[Sequence[int]],
    offers: Sequence[Sequence[int]],
    keep: int,
) -> torch.Tensor:
    """Read prompts side by side, given the numbers of those of each family."""
    whole = [[*prompt, *offer] for prompt, offer in zip(prompts, offers, strict=True)]
    shared = [_shared([prompts[number] for number in own]) for own in families]
    if len(families) == len(prompts) or not any(shared):
        return rows.read(whole, keep)
    rows.read([prompts[own[0]][:alike] for own, alike in zip(families, shared, strict=True)], 1)
    place_of = {number: place for place, own in enumerate(families) for number in own}
    places = [place_of[number] for number in range(len(prompts))]
    rows.take(places)
    return rows.read(
        [text[shared[place] :] for text, place in zip(whole, places, strict=True)], keep
    )


def _shared(prompts: Sequence[Sequence[int]]) -> int:
    """Return how many tokens prompts begin with alike, one less than the shortest at most."""
    alike = itertools.takewhile(lambda ids: len(set(ids)) == 1, zip(*prompts, strict=False))
    return min(sum(1 for _ in alike), min(map(len, prompts)) - 1)
