"""Log-probabilities of given candidates.

The model reads each prompt once, then all candidates of a prompt side by side after it.
"""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from arcmix.config import scales
from arcmix.prediction import rereading
from arcmix.prediction.reading import Query, read_prompts
from arcmix.prediction.shapes import Shapes


def logprobs(
    model: PreTrainedModel,
    queries: Sequence[Query],
    candidates: Sequence[Sequence[np.ndarray]],
    settings: scales.Predict,
    shapes: Shapes | None = None,
) -> list[list[float]]:
    """Return the summed log-probability of each candidate of each query, in nats.

    Args:
        model: A causal language model.
        queries: The prompts; they form one batch.
        candidates: For each query, the tokens of its candidates with their end tokens, int32
            (n,) each.
        settings: The format of the keys and values.
        shapes: The shapes of passes; None for those of the model's device.
    """
    model.eval()
    rows = rereading.rows(model, settings.kv_format, 0, shapes)
    with torch.inference_mode():
        before = read_prompts(rows, queries)
        parents = [place for place, own in enumerate(candidates) for _ in own]
        answers = [one for own in candidates for one in own]
        rows.select(parents)
        after = rows.read([one[:-1].tolist() for one in answers])
        losses = torch.stack(
            [
                _loss(torch.cat([before[parent], after[row, : len(one) - 1]]), one)
                for row, (parent, one) in enumerate(zip(parents, answers, strict=True))
            ]
        )
    found = iter((-losses).tolist())
    return [[next(found) for _ in own] for own in candidates]


def _loss(logits: torch.Tensor, answer: np.ndarray) -> torch.Tensor:
    """Return the summed loss of an answer, float64, given the logits before each token."""
    targets = torch.from_numpy(answer).long().to(logits.device, non_blocking=True)
    losses = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
    return losses.double().sum()
