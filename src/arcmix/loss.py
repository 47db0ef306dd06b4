"""The loss of each prompt, whatever the batch it is computed in.

The Trainer's own evaluation averages over batches, so that its loss depends on which
prompts meet in one (transformers issue 39241; arc24 measured a spread of 0.04). Here each
prompt has a sum and a count, and a mean is taken once, over those.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from arcmix.examples import Example


@torch.inference_mode()
def prompt_losses(
    model: PreTrainedModel | PeftModel,
    examples: Sequence[Example],
    batch: int,
    done: Callable[[int], object],
) -> np.ndarray:
    """Return the summed negative log-likelihood of each example's answer, float64 (n,).

    Args:
        model: A causal language model, with or without an adapter.
        examples: Prompts and answers in tokens.
        batch: Examples of one forward pass; the result does not depend on it beyond the
            rounding of the model's dtype.
        done: Called with the number of examples of each pass.
    """
    was_training = model.training
    model.eval()
    losses = np.zeros(len(examples))
    order = sorted(range(len(examples)), key=lambda index: len(examples[index].input_ids))
    for first in range(0, len(order), batch):
        chosen = order[first : first + batch]
        losses[chosen] = _losses(model, [examples[index] for index in chosen])
        done(len(chosen))
    model.train(was_training)
    return losses


def _losses(model: PreTrainedModel | PeftModel, examples: Sequence[Example]) -> np.ndarray:
    # Padding on the left puts all answers at the end, where logits are asked for.
    ids, mask, positions = left_padded([example.input_ids for example in examples], model.device)
    answers = [example.trained_tokens for example in examples]
    longest = max(answers)
    logits = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        logits_to_keep=longest + 1,
        use_cache=False,
    ).logits
    scores = torch.log_softmax(logits[:, :-1].float(), dim=-1)
    targets = ids[:, -longest:, None]
    picked = scores.gather(-1, targets)[..., 0].double().cpu().numpy()
    return np.array(
        [-row[longest - count :].sum() for row, count in zip(picked, answers, strict=True)]
    )


def left_padded(
    sequences: Sequence[np.ndarray], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return token ids, attention mask and positions, each int64 (n, longest).

    The padding is token 0, which the mask hides.
    """
    longest = max(map(len, sequences))
    ids = torch.zeros(len(sequences), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, longest - len(sequence) :] = torch.tensor(sequence)
        mask[row, longest - len(sequence) :] = 1
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    return ids.to(device), mask.to(device), positions.to(device)
