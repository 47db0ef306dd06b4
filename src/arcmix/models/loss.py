"""The loss of each token, whatever the tokens it is computed beside.

Examples lie one after the other in a row, without padding; positions begin anew with each, by
which transformers knows that none attends to another. Logits are made only where a token
carries loss.

The Trainer's own evaluation averages over batches, so that its loss depends on which
prompts meet in one (transformers issue 39241; arc24 measured a spread of 0.04). Here each
prompt has a sum and a count, and a mean is taken once, over those.
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

    Args:
        model: A causal language model of transformers, wrapped or not.
        examples: What stands in one row; their tokens come in this order. The first token
            of an example carries no loss, since nothing foretells it.
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
    """Return the summed negative log-likelihood of each example's answer, float64 (n,).

    Args:
        model: A causal language model, with or without an adapter.
        examples: Prompts and answers in tokens.
        tokens: Most tokens of one forward pass, but for longer examples; the result does not
            depend on it beyond the rounding of the model's dtype.
        done: Called with the number of examples of each pass.
    """
    was_training = model.training
    model.eval()
    losses = np.zeros(len(examples))
    for chosen in packs([len(one.input_ids) for one in examples], tokens):
        row = [examples[number] for number in chosen]
        found = token_losses(model, row).double().cpu().numpy()
        stops = np.cumsum([one.trained_tokens for one in row])
        losses[chosen] = [part.sum() for part in np.split(found, stops[:-1])]
        done(len(chosen))
    model.train(was_training)
    return losses
