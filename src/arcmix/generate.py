"""Greedy answers to many prompts at once."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from arcmix.loss import left_padded


@dataclass(frozen=True)
class Answer:
    """The tokens that a model gave, without the end token."""

    tokens: tuple[int, ...]
    """Token ids up to the end of the answer, or up to the budget."""
    logprob: float
    """Summed log-probability of the tokens and of the end token."""
    ended: bool
    """Whether the end token came within the budget."""


@torch.inference_mode()
def greedy(
    model: PreTrainedModel,
    prompts: Sequence[np.ndarray],
    *,
    end: int,
    budget: int,
    batch: int,
    done: Callable[[int], object],
) -> list[Answer]:
    """Return the most probable continuation of each prompt, token by token.

    Args:
        model: A causal language model.
        prompts: Token ids of each prompt, int32 (n,).
        end: Token that ends an answer.
        budget: Most tokens of an answer, the end token included.
        batch: Prompts generated together, of similar length.
        done: Called with the number of prompts of each batch.

    Raises:
        ValueError: If the model gives no finite logits.
    """
    model.eval()
    answers: dict[int, Answer] = {}
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for first in range(0, len(order), batch):
        chosen = order[first : first + batch]
        found = _batch(model, [prompts[index] for index in chosen], end, budget)
        answers |= dict(zip(chosen, found, strict=True))
        done(len(chosen))
    return [answers[index] for index in range(len(prompts))]


def _batch(
    model: PreTrainedModel, prompts: Sequence[np.ndarray], end: int, budget: int
) -> list[Answer]:
    ids, mask, positions = left_padded(prompts, model.device)
    cache = DynamicCache(config=model.config)
    tokens: list[list[int]] = [[] for _ in prompts]
    logprobs = [0.0] * len(prompts)
    ended = [False] * len(prompts)
    rows = list(range(len(prompts)))
    for _ in range(budget):
        logits = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        best, picked = torch.log_softmax(logits.float(), dim=-1).max(dim=-1)
        for row, token, logprob in zip(rows, picked.tolist(), best.tolist(), strict=True):
            if not math.isfinite(logprob):
                raise ValueError(
                    f"the model gives a log-probability of {logprob} after"
                    f" {len(tokens[row])} tokens; train and predict in bfloat16 or float32"
                )
            logprobs[row] += logprob
            ended[row] = token == end
            if not ended[row]:
                tokens[row].append(token)
        going = [place for place, row in enumerate(rows) if not ended[row]]
        if not going:
            break
        if len(going) < len(rows):
            kept = torch.tensor(going, device=model.device)
            cache.batch_select_indices(kept)
            picked, mask, positions = picked[kept], mask[kept], positions[kept]
            rows = [rows[place] for place in going]
        ids = picked[:, None]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        positions = positions[:, -1:] + 1
    return [
        Answer(tuple(found), logprob, over)
        for found, logprob, over in zip(tokens, logprobs, ended, strict=True)
    ]
