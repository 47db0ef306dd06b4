"""The processes that share a stage: one, unless `accelerate launch` started several."""

import datetime as dt
from collections.abc import Callable
from typing import TypeVar, cast

import accelerate
import torch

T = TypeVar("T")

PATIENCE = dt.timedelta(days=7)
"""How long a process waits for the others: one of them may have much more to do."""


def shared() -> accelerate.PartialState:
    """Return what there is to know of the processes that share the work, and meet them."""
    return accelerate.PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)


def part() -> None:
    """Leave the others, once all have come here; a process that just ends may abort them."""
    shared().wait_for_everyone()
    shared().destroy_process_group()


def leads() -> bool:
    """Return whether this process is the one that writes: the first of those that work."""
    return shared().is_main_process


def total(values: torch.Tensor) -> torch.Tensor:
    """Return the sum of the processes' values, on the CPU, to each of them."""
    summed = accelerate.utils.reduce(values.to(shared().device), reduction="sum")
    return cast("torch.Tensor", summed).cpu()


def agreed(choose: Callable[[], T]) -> T:
    """Return what the first process chooses, to each of them; the others do not look.

    Args:
        choose: Returns something that can be pickled.
    """
    found = [choose() if leads() else None]
    accelerate.utils.broadcast_object_list(found)
    return cast("T", found[0])
