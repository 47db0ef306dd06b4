"""The processes (ranks) that share a stage: one, unless `accelerate launch` started several."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import accelerate
import accelerate.utils
import torch

K = TypeVar("K")
T = TypeVar("T")

TIMEOUT = dt.timedelta(days=7)
"""How long a rank waits for the others, which may have far more work."""


@dataclass(frozen=True)
class Ranks:
    """A group of ranks that share a list of work items."""

    rank: int
    """Index of this process in the group, from 0."""
    count: int
    """Number of processes."""

    def share(self, work: Sequence[T]) -> Sequence[T]:
        """Return the items of this rank: every `count`-th item, from item `rank`."""
        return work[self.rank :: self.count]

    def gather(self, results: Mapping[K, T]) -> dict[K, T]:
        """Return the results of all ranks to each rank.

        Args:
            results: The results of this rank; they must be picklable.
        """
        if self.count == 1:
            return dict(results)
        return dict(accelerate.utils.gather_object([*results.items()]))


ONE_RANK = Ranks(0, 1)
"""A process that works alone."""


def all_ranks() -> Ranks:
    """Return the group of all processes of the stage."""
    return Ranks(state().process_index, state().num_processes)


def state() -> accelerate.PartialState:
    """Return the state of this process; the first call connects it to the other ranks."""
    return accelerate.PartialState(cpu=not torch.cuda.is_available(), timeout=TIMEOUT)


def leave() -> None:
    """Wait for all ranks, then leave the group; a rank that exits early may abort the others."""
    state().wait_for_everyone()
    state().destroy_process_group()


def is_main() -> bool:
    """Return whether this is rank 0, the only rank that writes files."""
    return state().is_main_process


def all_reduce_sum(values: torch.Tensor) -> torch.Tensor:
    """Return the sum of a tensor over all ranks, on the CPU of each rank."""
    summed = accelerate.utils.reduce(values.to(state().device), reduction="sum")
    return cast("torch.Tensor", summed).cpu()


def from_main(compute: Callable[[], T]) -> T:
    """Return the result of a function to each rank; only rank 0 calls it.

    Args:
        compute: The function; its result must be picklable.
    """
    result = [compute() if is_main() else None]
    accelerate.utils.broadcast_object_list(result)
    return cast("T", result[0])
