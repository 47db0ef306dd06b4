"""The loss of each token, independent of the other examples in its batch.

Examples are packed into one row without padding, and do not attend to each other (`attention`).
Some models mix them all the same, such as those whose layers have a state (linear attention).
`fitted` finds them by their losses, and gives each example a row of its own. Logits are computed
only for tokens that carry loss.

The Trainer's own evaluation averages the means of batches, so its loss depends on how prompts are
batched (transformers issue 39241; arc24 measured a spread of 0.04). Here each prompt has a sum
and a token count, and the mean is computed once from these.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import numpy as np
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from arcmix import integers
from arcmix.config import scales
from arcmix.models import attention
from arcmix.models.packing import packs
from arcmix.text.tokenization import Example

log = logging.getLogger("arcmix.loss")

APART = 1e-4
"""Maximum effect on the loss of a token, in nats, of the example before its own. The effect is zero
where attention is masked; rounding can differ where tokens choose the experts of a layer."""


def token_losses(model: torch.nn.Module, examples: Sequence[Example]) -> torch.Tensor:
    """Return the negative log-likelihood of each token that carries loss, float32 (tokens,).

    The unit is nats. The tokens are in the order of the examples.

    Args:
        model: A causal language model of transformers, or a wrapper of one.
        examples: The examples of one packed row. The first token of an example must not carry
            loss, because the model does not predict it.
    """
    lengths = [len(one.input_ids) for one in examples]
    limits = attention.bounds(lengths)
    ids, positions, targets, bounds = _moved(
        next(model.parameters()).device,
        np.concatenate([one.input_ids for one in examples]),
        np.concatenate([np.arange(length) for length in lengths]),
        np.flatnonzero(np.concatenate([one.trained for one in examples])),
        np.array(limits),
    )
    logits = model(
        input_ids=ids[None],
        position_ids=positions[None],
        logits_to_keep=targets - 1,
        use_cache=False,
        **attention.arguments(model, limits, bounds),
    ).logits[0]
    return torch.nn.functional.cross_entropy(logits.float(), ids[targets], reduction="none")


def _moved(device: torch.device, *arrays: np.ndarray) -> Sequence[torch.Tensor]:
    """Return arrays of integers on a device, int64; the host does not wait for its earlier work."""
    whole = torch.from_numpy(np.concatenate(arrays).astype(np.int64))
    if device.type == "cuda":
        whole = whole.pin_memory()
    return whole.to(device, non_blocking=True).split([len(array) for array in arrays])


@contextlib.contextmanager
def in_memory(name: str, row: Sequence[Example]) -> Iterator[None]:
    """Say which value to lower if a device has too little memory for a row.

    Args:
        name: The value that limits the tokens of a row.
        row: The examples of the row.

    Raises:
        torch.OutOfMemoryError: If the device runs out of memory.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        tokens = sum(len(one.input_ids) for one in row)
        what = f"a row of {tokens} tokens in {len(row)} texts; set {name} to {tokens // 2}"
        if len(row) == 1:
            what = (
                f"a text of {tokens} tokens; set finetune.gradient_checkpointing to true, or lower"
                " finetune.max_tokens"
            )
        raise torch.OutOfMemoryError(f"the device has too little memory for {what}") from error


@torch.inference_mode()
def prompt_losses(
    model: PreTrainedModel | PeftModel,
    examples: Sequence[Example],
    tokens: int,
    done: Callable[[int], object],
) -> np.ndarray:
    """Return the summed negative log-likelihood of each answer in nats, float64 (n,).

    Args:
        model: A causal language model, with or without an adapter.
        examples: Prompts with answers, as token ids.
        tokens: Maximum number of tokens in a forward pass; a longer example has its own pass. It
            affects the result only by rounding in the model's dtype.
        done: Called after each forward pass with its number of examples.
    """
    rows = packs([len(one.input_ids) for one in examples], tokens)
    found = []
    with _evaluating(model):
        for chosen in rows:
            row = [examples[number] for number in chosen]
            with in_memory("finetune.eval_tokens", row):
                found.append(token_losses(model, row))
            done(len(chosen))
    # One transfer, because each makes the host wait for the device.
    order = [number for chosen in rows for number in chosen]
    nll = torch.cat(found).double().cpu().numpy() if found else np.zeros(0)
    stops = np.cumsum([examples[number].trained_tokens for number in order])
    losses = np.zeros(len(examples))
    losses[order] = [part.sum() for part in np.split(nll, stops)[:-1]]
    return losses


def fitted(settings: scales.Finetune, model: PreTrainedModel | PeftModel) -> scales.Finetune:
    """Return the settings with a row for each example, unless the model keeps examples apart.

    Args:
        settings: The settings of the fine-tune.
        model: A causal language model, with or without an adapter.
    """
    if keeps_apart(model):
        return settings
    log.info("the model mixes the texts of a row, so each text has a row of its own")
    return settings.model_copy(update={"micro_tokens": 1, "eval_tokens": 1})


@torch.no_grad()
def keeps_apart(model: PreTrainedModel | PeftModel) -> bool:
    """Return whether the losses of an example do not depend on the one before it in a row."""
    rows = len(cast("torch.nn.Embedding", model.get_input_embeddings()).weight)
    ids = integers.narrowed(np.arange(24) % rows, np.int32)
    before, after = _all_trained(ids[:8]), _all_trained(ids[8:])
    with _evaluating(model):
        same, other = (
            token_losses(model, [one, after])[-(len(after.input_ids) - 1) :]
            for one in (before, _all_trained(before.input_ids[::-1]))
        )
    # A loss that is not a number is not equal to itself.
    return bool(((same - other).abs() <= APART).all())


@contextlib.contextmanager
def _evaluating(model: PreTrainedModel | PeftModel) -> Iterator[None]:
    """Turn dropout off, and restore the mode and the attention of the model at the end."""
    was_training = model.training
    model.eval()
    try:
        with attention.restored(model):
            yield
    finally:
        model.train(was_training)


def _all_trained(ids: np.ndarray) -> Example:
    """Return an example in which each token but the first carries loss."""
    return Example(ids, np.arange(len(ids)) > 0)
