"""The loss of each token, independent of the other examples in its batch.

Examples are packed into one row without padding. Position ids restart at each example, from which
transformers infers that examples do not attend to each other. Logits are computed only for tokens
that carry loss.

The Trainer's own evaluation averages the means of batches, so its loss depends on how prompts are
batched (transformers issue 39241; arc24 measured a spread of 0.04). Here each prompt has a sum
and a token count, and the mean is computed once from these.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from arcmix.models.packing import packs
from arcmix.text.tokenization import Example


def token_losses(model: torch.nn.Module, examples: Sequence[Example]) -> torch.Tensor:
    """Return the negative log-likelihood of each token that carries loss, float32 (tokens,).

    The unit is nats. The tokens are in the order of the examples.

    Args:
        model: A causal language model of transformers, or a wrapper of one.
        examples: The examples of one packed row. The first token of an example must not carry
            loss, because the model does not predict it.
    """
    device = next(model.parameters()).device
    ids = torch.from_numpy(np.concatenate([one.input_ids for one in examples])).long().to(device)
    targets = torch.from_numpy(np.flatnonzero(np.concatenate([one.trained for one in examples])))
    targets = targets.to(device)
    positions = torch.cat([torch.arange(len(one.input_ids)) for one in examples])
    logits = model(
        input_ids=ids[None],
        position_ids=positions[None].to(device),
        logits_to_keep=targets - 1,
        use_cache=False,
    ).logits[0]
    return torch.nn.functional.cross_entropy(logits.float(), ids[targets], reduction="none")


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
    was_training = model.training
    model.eval()
    losses = np.zeros(len(examples))
    for chosen in packs([len(one.input_ids) for one in examples], tokens):
        row = [examples[number] for number in chosen]
        nll = token_losses(model, row).double().cpu().numpy()
        stops = np.cumsum([one.trained_tokens for one in row])
        losses[chosen] = [part.sum() for part in np.split(nll, stops[:-1])]
        done(len(chosen))
    model.train(was_training)
    return losses
