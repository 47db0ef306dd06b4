"""The fixed cost of a forward pass: reading the weights, and launching kernels.

It decides how many draft tokens a pass reads: the higher it is, the more a draft token is worth.
"""

import functools
import statistics
import time
import weakref
from collections.abc import Callable

import torch
from transformers import PreTrainedModel

from arcmix.prediction import rereading
from arcmix.prediction.drafts import MAX_DRAFT

CPU_PASS_COST = 24
"""Fixed cost of a forward pass on a CPU, in units of the cost of one token (docs/benchmarks.md). It
is no measurement of the run, so that the passes of two runs are the same."""

LARGEST_PASS_COST = 2**16
"""Limit on a measured cost: the time of further tokens may be too short to measure."""

PROBED_ROWS = 16
"""Number of rows of the passes that are timed."""

WARM_UP, TIMED = 2, 5
"""Number of passes before the timed ones, and number of timed passes."""

_costs: weakref.WeakKeyDictionary[PreTrainedModel, float] = weakref.WeakKeyDictionary()


def pass_cost(model: PreTrainedModel) -> float:
    """Return the fixed cost of a forward pass, in units of the cost of one token.

    It decides how many draft tokens a pass reads, which changes answers by rounding only. It is
    measured once for each model on an accelerator.
    """
    if model.device.type == "cpu":
        return CPU_PASS_COST
    if model not in _costs:
        _costs[model] = measured_cost(model, _seconds)
    return _costs[model]


def measured_cost(
    model: PreTrainedModel, seconds: Callable[[Callable[[], object]], float]
) -> float:
    """Return the fixed cost of a pass, given a function that returns the time of some work."""
    rows = rereading.rows(model, "none", 0)
    rows.read([[0]] * PROBED_ROWS)

    def read(count: int) -> None:
        rows.read([[0] * count] * PROBED_ROWS)
        rows.discard([count] * PROBED_ROWS)

    short, long = (seconds(functools.partial(read, count)) for count in (1, MAX_DRAFT))
    token = (long - short) / (PROBED_ROWS * (MAX_DRAFT - 1))
    cost = short / max(token, short / LARGEST_PASS_COST) - PROBED_ROWS
    return max(cost, 0.0)


def _seconds(work: Callable[[], object]) -> float:
    """Return the median time of some work on an accelerator."""
    times = []
    for _ in range(WARM_UP + TIMED):
        torch.accelerator.synchronize()
        started = time.perf_counter()
        work()
        torch.accelerator.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[WARM_UP:])
