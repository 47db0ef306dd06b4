"""What a model and its tokenizer do with the texts of a run, seen before anything is trained.

Texts and rows repair what differs between models (`text.tokenization`, `loss.fitted`). Here, the
result is checked on texts of small tasks: a finding says what was seen, and what was done about it.
What cannot be repaired is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from arcmix.config import scales
from arcmix.models import loss
from arcmix.tasks import Pair
from arcmix.text import prompt, tokenization
from arcmix.text.prompt import Style
from arcmix.text.tokenization import PROBES, Example

if TYPE_CHECKING:
    import torch

SAME = 0.1
"""Maximum difference between the losses of a text in a row with others and alone, in nats a token.

Rounding of SmolLM2-135M to bfloat16 makes a difference of 0.02."""


@dataclass(frozen=True)
class Finding:
    """What one check saw."""

    check: str
    """Name of the check."""
    found: str
    """What was seen."""
    done: str
    """What arcmix does about it; empty if nothing is needed."""


def examples(tokenizer: PreTrainedTokenizerBase, style: Style) -> list[Example]:
    """Return three small tasks with their answers as token ids.

    Raises:
        ValueError: If the prompt of a task is not the start of its training text.
    """
    shown = [Pair(PROBES[first], PROBES[first + 1]) for first in range(3)]
    tasks = [([pair], PROBES[(number + 2) % 5]) for number, pair in enumerate(shown)]
    taught = [prompt.render(style, train, grid, grid) for train, grid in tasks]
    asked = [prompt.render(style, train, grid, None) for train, grid in tasks]
    pairs = zip(
        tokenization.tokenize(tokenizer, asked),
        tokenization.tokenize(tokenizer, taught),
        strict=True,
    )
    found = []
    for question, lesson in pairs:
        if not np.array_equal(lesson.input_ids[: len(question.input_ids)], question.input_ids):
            raise ValueError(
                "the prompt at inference is not the start of the training text, so the model would"
                " answer prompts that it was not trained on; choose another model or prompt format"
            )
        found.append(lesson)
    return found


def packing(model: PreTrainedModel, texts: Sequence[Example], settings: scales.Finetune) -> Finding:
    """Compare the losses of texts in one row with their losses alone.

    Args:
        model: The model, in the dtype of the run.
        texts: The texts.
        settings: The settings of the fine-tune.

    Raises:
        ValueError: If a loss is not finite, or if the losses differ.
    """
    limit = loss.fitted(settings, model).eval_tokens
    tokens = np.array([one.trained_tokens for one in texts])
    alone, packed = (
        loss.prompt_losses(model, texts, size, done=lambda _: None) / tokens for size in (1, limit)
    )
    if not np.isfinite(alone).all():
        raise ValueError(
            f"the loss of a small task is {alone.max()} with finetune.dtype {settings.dtype};"
            " set it to bfloat16 or float32, or choose another model"
        )
    difference = float(np.abs(packed - alone).max())
    if difference > SAME:
        raise ValueError(
            f"the loss of a text changes by {difference:.3f} nats per token if other texts are in"
            f" its row, and at most {SAME} is rounding; set finetune.micro_tokens and"
            " finetune.eval_tokens to 1, so that each text has a row of its own"
        )
    if limit == settings.eval_tokens:
        found = f"a text has the same loss in a row with others, within {difference:.4f} nats"
        return Finding("packing", found, "")
    return Finding("packing", "the model mixes the texts of a row", "each text has its own row")


def vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Finding:
    """Return the sizes of the vocabulary and whether the output layer is tied to the embeddings."""
    rows = len(cast("torch.nn.Embedding", model.get_input_embeddings()).weight)
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    tied = outputs is not None and inputs.weight is outputs.weight
    head = "tied to the embeddings" if tied else "separate from the embeddings"
    return Finding(
        "vocabulary", f"{len(tokenizer)} tokens, {rows} embeddings, an output layer {head}", ""
    )
