"""The processes that share a stage: one, unless `accelerate launch` started several."""

from typing import cast

import accelerate
import torch


def shared() -> accelerate.PartialState:
    """Return what there is to know of the processes that share the work, and meet them."""
    return accelerate.PartialState(cpu=not torch.cuda.is_available())


def leads() -> bool:
    """Return whether this process is the one that writes: the first of those that work."""
    return shared().is_main_process


def total(values: torch.Tensor) -> torch.Tensor:
    """Return the sum of the processes' values, on the CPU, to each of them."""
    summed = accelerate.utils.reduce(values.to(shared().device), reduction="sum")
    return cast("torch.Tensor", summed).cpu()
