"""The learning rate of each step, and the number of samples in a budget."""

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
import transformers

from arcmix.config.scales import Finetune

FLOOR = 0.01
"""Learning rate at the start and the end of a cycle of `cyclic`, relative to the peak. arc24 meant
0.01, but its floor division gave 0."""

NAMES = {
    "linear": "linear",
    "constant": "constant_with_warmup",
    "cosine": "cosine",
    "cosine_with_restarts": "cosine_with_restarts",
}
"""Our name of a schedule -> its name in transformers."""


def samples(settings: Finetune, trained_tokens: Sequence[int]) -> int:
    """Return the number of samples in a budget, rounded up to whole steps.

    Args:
        settings: The budget, its unit and the batch.
        trained_tokens: Number of tokens that carry loss in each sample. After the last sample,
            the first one follows.
    """
    wanted = settings.budget * (settings.batch if settings.unit == "steps" else 1)
    if settings.unit == "answer_tokens":
        seen = np.cumsum(trained_tokens)
        passes, rest = divmod(settings.budget, max(1, int(seen[-1]))) if len(seen) else (0, 0)
        wanted = passes * len(seen) + (int(np.searchsorted(seen, rest)) + 1 if rest else 0)
    return math.ceil(wanted / settings.batch) * settings.batch


def scheduler(
    optimizer: torch.optim.Optimizer, settings: Finetune, total: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Return the learning rate scheduler of an optimizer.

    Args:
        optimizer: The optimizer, with the peak learning rate.
        settings: The schedule, its warmup and its cycles.
        total: Number of steps in the whole fine-tune.
    """
    if settings.schedule == "cyclic":
        factor = functools.partial(_cyclic, settings, total)
        return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    cycles = {"num_cycles": settings.cycles}
    return transformers.get_scheduler(
        NAMES[settings.schedule],
        optimizer,
        num_warmup_steps=math.ceil(settings.warmup * total),
        num_training_steps=total,
        scheduler_specific_kwargs=cycles if settings.schedule == "cosine_with_restarts" else None,
    )


def _cyclic(settings: Finetune, total: int, step: int) -> float:
    """Return the learning rate of a step, counted from 0, relative to the peak."""
    length = total / settings.cycles
    cycle = min(int(step / length), settings.cycles - 1)
    progress = step / length - cycle
    peak = 1.0 - cycle / settings.cycles
    if progress < settings.warmup:
        height = progress / settings.warmup
    else:
        height = (1.0 - progress) / max(1e-9, 1.0 - settings.warmup)
    return FLOOR + (1.0 - FLOOR) * peak * max(0.0, height)
