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
from arcmix.tasks import COLORS, Pair
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
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    rows = len(cast("torch.nn.Embedding", inputs).weight)
    tied = outputs is not None and inputs.weight is outputs.weight
    head = "tied to the embeddings" if tied else "separate from the embeddings"
    return Finding(
        "vocabulary", f"{len(tokenizer)} tokens, {rows} embeddings, an output layer {head}", ""
    )


def start(style: Style) -> Finding:
    """Return the token that each text starts with."""
    if style.start:
        return Finding(
            "start", f"the tokenizer puts {style.start} before texts", "each text has it"
        )
    return Finding("start", "the tokenizer puts no token before texts", "")


def digits(tokenizer: PreTrainedTokenizerBase, style: Style, text: Example) -> Finding:
    """Return whether the tokenizer merges cells.

    Args:
        tokenizer: The tokenizer.
        style: The style of the texts.
        text: A text of that style.
    """
    cells = {style.encoder.encode(np.full((1, 1), color, np.uint8)) for color in range(COLORS)}
    tokens = {tokenization.decode(tokenizer, [one]).strip() for one in {*text.input_ids.tolist()}}
    merged = sorted(one for one in tokens if len(one) > 1 and {*one} <= {*"".join(cells)})
    if merged:
        done = "texts are tokenized one by one"
        return Finding("digits", f"the tokenizer merges cells, as in {merged[0]!r}", done)
    return Finding("digits", "a token has one cell at most", "")


def window(model: PreTrainedModel, longest: int) -> Finding:
    """Return how the longest text of a run fits the positions and the window of a model.

    Args:
        model: The model.
        longest: Number of tokens of the longest text.
    """
    config = model.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", "any number of")
    found = f"texts of up to {longest} tokens, and {positions} positions"
    size = getattr(config, "sliding_window", None)
    if size is None or size >= longest:
        return Finding("length", found, "")
    return Finding("length", f"{found}; attention slides over {size} tokens", "it counts tokens")
