"""The learning rate of every step, and how many steps a budget is."""

import math
from collections.abc import Sequence

import numpy as np

from arcmix.config.scales import Finetune

FLOOR = 0.01
"""Share of the peak that a cycle of `cyclic` starts and ends at (arc24 meant a hundredth, and
had 0 by a floor division)."""


def samples(settings: Finetune, trained_tokens: Sequence[int]) -> int:
    """Return how many samples a budget takes: whole steps of them.

    Args:
        settings: The budget, its unit and the batch.
        trained_tokens: Tokens that carry loss, of each sample; used up, they come again.
    """
    wanted = settings.budget * (settings.batch if settings.unit == "steps" else 1)
    if settings.unit == "answer_tokens":
        seen = np.cumsum(trained_tokens)
        passes, rest = divmod(settings.budget, max(1, int(seen[-1]))) if len(seen) else (0, 0)
        wanted = passes * len(seen) + (int(np.searchsorted(seen, rest)) + 1 if rest else 0)
    return math.ceil(wanted / settings.batch) * settings.batch


def factor(settings: Finetune, step: int, total: int) -> float:
    """Return the share of the peak learning rate that a step is taken with.

    Args:
        settings: The schedule, its warmup and its cycles.
        step: Steps done before it.
        total: Steps of the whole fine-tune.
    """
    if settings.schedule == "cyclic":
        return _cyclic(settings, step, total)
    warmup = math.ceil(settings.warmup * total)
    if step < warmup:
        return step / warmup
    done = min(1.0, (step - warmup) / max(1, total - warmup))
    match settings.schedule:
        case "constant":
            return 1.0
        case "linear":
            return 1.0 - done
        case "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * done))
        case "cosine_with_restarts":
            # At the very end the last cycle is over, and none begins.
            place = done * settings.cycles % 1.0 if done < 1.0 else 1.0
            return 0.5 * (1.0 + math.cos(math.pi * place))


def _cyclic(settings: Finetune, step: int, total: int) -> float:
    length = total / settings.cycles
    cycle = min(int(step / length), settings.cycles - 1)
    place = step / length - cycle
    peak = 1.0 - cycle / settings.cycles
    if place < settings.warmup:
        height = place / settings.warmup
    else:
        height = (1.0 - place) / max(1e-9, 1.0 - settings.warmup)
    return FLOOR + (1.0 - FLOOR) * peak * max(0.0, height)
