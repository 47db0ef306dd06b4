"""The learning rate of every step, and how many steps a budget is."""

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
import transformers

from arcmix.config.scales import Finetune

FLOOR = 0.01
"""Share of the peak that a cycle of `cyclic` starts and ends at (arc24 meant a hundredth, and
had 0 by a floor division)."""

NAMES = {
    "linear": "linear",
    "constant": "constant_with_warmup",
    "cosine": "cosine",
    "cosine_with_restarts": "cosine_with_restarts",
}
"""Our names of the schedules that transformers has -> its names."""


def samples(settings: Finetune, trained_tokens: Sequence[int]) -> int:
    """Return how many samples a budget takes: whole steps of them.

    Args:
        settings: The budget, its unit and the batch.
        trained_tokens: Tokens that carry loss, of each sample; after the last sample, the first
            one comes again.
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
    """Return the schedule of an optimizer's learning rate.

    Args:
        optimizer: The optimizer, with the peak learning rate.
        settings: The schedule, its warmup and its cycles.
        total: Steps of the whole fine-tune.
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
    """Return the share of the peak that a step is taken with, after `step` others."""
    length = total / settings.cycles
    cycle = min(int(step / length), settings.cycles - 1)
    place = step / length - cycle
    peak = 1.0 - cycle / settings.cycles
    if place < settings.warmup:
        height = place / settings.warmup
    else:
        height = (1.0 - place) / max(1e-9, 1.0 - settings.warmup)
    return FLOOR + (1.0 - FLOOR) * peak * max(0.0, height)
