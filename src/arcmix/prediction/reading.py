"""Prompts read by a model. The common prefix of the prompts of a family is read once."""

import itertools
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from arcmix.prediction import rereading
from arcmix.prediction.rows import Rows

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


def read_prompts(rows: Rows, queries: Sequence[Query]) -> torch.Tensor:
    """Read prompts into new rows behind the others, the common prefix of each family once.

    The queries of a family stand side by side.

    Args:
        rows: The rows, which may hold other texts.
        queries: The prompts.

    Returns:
        Logits after the last token of each prompt, (prompts, 1, vocabulary).
    """
    families = [
        [query.tokens.tolist() for query in own]
        for _, own in itertools.groupby(queries, key=lambda query: query.family)
    ]
    parts, logits = [], []
    for group in _groups(families, rows.shapes.at_once):
        parts.append(rows.empty())
        logits.append(_read_families(parts[-1], group))
    rows.extend(parts)
    return torch.cat(logits)


def _groups(
    families: Sequence[list[list[int]]], tokens: int
) -> Iterator[Sequence[list[list[int]]]]:
    """Yield families to read in one pass: as many as the limit on their tokens allows, or one."""
    start = longest = 0
    for number, family in enumerate(families):
        longest = max(longest, *map(len, family))
        if number > start and sum(map(len, families[start : number + 1])) * longest > tokens:
            yield families[start:number]
            start, longest = number, max(map(len, family))
    yield families[start:]


def _read_families(rows: Rows, families: Sequence[list[list[int]]]) -> torch.Tensor:
    """Read the prompts of families into empty rows; return the logits after each prompt."""
    prompts = [prompt for family in families for prompt in family]
    prefixes = [_prefix(family) for family in families]
    if len(families) == len(prompts) or not any(prefixes):
        return rows.read(prompts, last=True)
    pairs = [*zip(families, prefixes, strict=True)]
    rows.read([family[0][:prefix] for family, prefix in pairs], last=True)
    rows.select([number for number, family in enumerate(families) for _ in family])
    return rows.read([prompt[prefix:] for family, prefix in pairs for prompt in family], last=True)


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
    rows.read([text[: 1 + number] for number, text in enumerate(texts)])
    logits = rows.read([text[1 + number :] for number, text in enumerate(texts)], last=True)[:, 0]
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
