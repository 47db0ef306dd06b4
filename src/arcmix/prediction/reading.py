"""Prompts read by a model. The common prefix of the prompts of a family is read once."""

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from arcmix.prediction import rereading
from arcmix.prediction.kv_cache import Rows

READ_ALIKE = 0.2
"""Maximum distance between the next token's probabilities in a batch and those of a text alone.

It is the total variation, from 0 to 1. Rounding of SmolLM2-135M to bfloat16 makes it 0.001."""


@dataclass(frozen=True)
class Query:
    """A prompt to answer."""

    tokens: np.ndarray
    """Token ids, int32 (n,)."""
    draft: np.ndarray
    """Token ids of a draft of the answer, int32 (m,); may be empty."""
    family: Hashable
    """Queries of one family share a prefix, which is read once."""
    purpose: str
    """The purpose of the random numbers that draw its samples (`arcmix.randomness`)."""


def read_prompts(
    rows: Rows, queries: Sequence[Query], drafts: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Read prompts into empty rows, the common prefix of each family once.

    A CPU reads one family after another: a single prompt uses all its cores, and a batch of several
    families is slower because of its padding and masks.

    Args:
        rows: Rows that have read nothing yet.
        queries: The prompts.
        drafts: For each prompt, the draft tokens to read after it.

    Returns:
        Logits after the last token of each prompt and after each draft token, as `Rows.read`
        returns them.
    """
    families: dict[Hashable, list[int]] = {}
    for number, query in enumerate(queries):
        families.setdefault(query.family, []).append(number)
    prompts = [query.tokens.tolist() for query in queries]
    keep = max(map(len, drafts)) + 1
    if rows.model.device.type != "cpu":
        return _read_prompts(rows, [*families.values()], prompts, drafts, keep)
    parts, logits = [], []
    for own in families.values():
        part = rereading.rows(rows.model, rows.format, 0)
        members = [[*range(len(own))]]
        texts = [prompts[number] for number in own], [drafts[number] for number in own]
        after = _read_prompts(part, members, *texts, keep)
        # A text shorter than `keep` tokens has fewer logits.
        logits.append(torch.nn.functional.pad(after, (0, 0, keep - after.shape[1], 0)))
        parts.append(part)
    rows.concatenate(parts)
    places = np.argsort([number for own in families.values() for number in own]).tolist()
    rows.select(places)
    return torch.cat(logits)[places]


def _read_prompts(
    rows: Rows,
    families: Sequence[Sequence[int]],
    prompts: Sequence[Sequence[int]],
    drafts: Sequence[Sequence[int]],
    keep: int,
) -> torch.Tensor:
    """Read all prompts in one batch; `families` holds the numbers of the prompts of each family."""
    texts = [[*prompt, *draft] for prompt, draft in zip(prompts, drafts, strict=True)]
    prefixes = [_prefix([prompts[number] for number in own]) for own in families]
    if len(families) == len(prompts) or not any(prefixes):
        return rows.read(texts, keep)
    rows.read([prompts[own[0]][:prefix] for own, prefix in zip(families, prefixes, strict=True)], 1)
    place_of = {number: place for place, own in enumerate(families) for number in own}
    places = [place_of[number] for number in range(len(prompts))]
    rows.select(places)
    return rows.read(
        [text[prefixes[place] :] for text, place in zip(texts, places, strict=True)], keep
    )


def _prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Return the length of the common prefix, at most one less than the shortest prompt."""
    common = itertools.takewhile(lambda ids: len(set(ids)) == 1, zip(*prompts, strict=False))
    return min(sum(1 for _ in common), min(map(len, prompts)) - 1)


@torch.inference_mode()
def check(model: PreTrainedModel, texts: Sequence[Sequence[int]]) -> float:
    """Refuse a model that reads texts in a batch otherwise than alone; return the difference.

    Args:
        model: A causal language model that passes `kv_cache.check`; its attention may be changed.
        texts: Texts of different lengths, of at least two tokens each, as token ids.

    Raises:
        ValueError: If the probabilities of the next token differ by more than rounding.
    """
    device = model.device
    alone = [
        model(input_ids=torch.tensor([[*text]], device=device), use_cache=False).logits[0, -1]
        for text in texts
    ]
    rows = rereading.rows(model, "none", 0)
    rows.read([text[: 1 + number] for number, text in enumerate(texts)], 1)
    logits = rows.read([text[1 + number :] for number, text in enumerate(texts)], 1)[:, -1]
    found, expected = (torch.softmax(one.float(), -1) for one in (logits, torch.stack(alone)))
    difference = ((found - expected).abs().sum(-1) / 2).max().item()
    # A difference that is not a number is not within the limit.
    if not difference <= READ_ALIKE:
        raise ValueError(
            f"the model reads a text in a batch with others otherwise than alone: the probabilities"
            f" of the next token differ by {difference:.3f}, and at most {READ_ALIKE} is rounding;"
            " choose another model"
        )
    return difference
