"""Passes of a model that are recorded once for each shape, and replayed with other inputs.

A CUDA graph launches the thousands of kernels of a pass at once. Its inputs, its outputs and the
cache stay at the addresses that it was recorded with.
"""

import functools
from collections.abc import Callable, Hashable
from typing import Any, cast

import torch

Work = Callable[[torch.Tensor], torch.Tensor]
"""A pass: the logits as a function of the input (`rows.Rows`)."""

Record = Callable[[Work, torch.Tensor], Callable[[], torch.Tensor]]
"""What records a pass: given the pass and its input, returns what replays it."""


def plain(work: Work, given: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Return a function that does some work anew on its input, which is overwritten in between."""
    return lambda: work(given)


def cuda_graph(work: Work, given: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Return a function that does the same as that of `plain`, by a CUDA graph.

    The result is overwritten by the next pass.
    """
    graph = torch.cuda.CUDAGraph()
    # Its stub has another type for the id of a pool.
    with torch.cuda.graph(graph, pool=cast("Any", _pool().id)):
        output = work(given)

    def replay() -> torch.Tensor:
        graph.replay()
        return output

    return replay


@functools.cache
def _pool() -> torch.cuda.MemPool:
    """Return the memory that all graphs share, since no two of them run at the same time.

    It outlives the graphs: a pool whose last graph is gone cannot be used again.
    """
    return torch.cuda.MemPool()


class Recorded:
    """Passes that are recorded once for each shape, with inputs and caches at fixed addresses."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._passes: dict[Hashable, tuple[torch.Tensor, Callable[[], torch.Tensor]]] = {}
        self._caches: tuple[int, ...] = ()

    def run(
        self, work: Work, given: torch.Tensor, view: int, caches: tuple[int, ...]
    ) -> torch.Tensor:
        """Return the result of a pass.

        Args:
            work: Does the pass.
            given: Its input.
            view: Number of slots that are attended to, which is fixed in a recording.
            caches: The addresses of the keys; recordings with other addresses are dropped.
        """
        if caches != self._caches:
            self._passes, self._caches = {}, caches
        key = (*given.shape, view)
        if key not in self._passes:
            fixed = given.clone()
            # Kernels and their workspaces are loaded before they are recorded.
            work(fixed)
            self._passes[key] = fixed, self._record(work, fixed)
        fixed, replay = self._passes[key]
        fixed.copy_(given)
        return replay()
