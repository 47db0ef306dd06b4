"""Tolerances of floating-point results that are computed in two ways.

The order of a sum depends on the processor, the number of threads, the packing of rows and the
memory layout, so results differ by rounding. Tests compare such results within a tolerance that
this module derives from the dtype. The models of the tests have two layers of width 32, and their
log-probabilities and losses are of the order of 1 to 10.

A test requires exact equality only if one machine repeats the same computation: the same inputs in
the same batches, with the same number of threads and the same alignment in memory.
"""

from typing import Any

import pandas as pd
import pytest
import torch

STORED = 2
"""Rounding of the values between two operations, in units in the last place.

Each of about 30 consecutive operations rounds its result to the dtype, by a quarter of a unit on
average. The directions are random, so the total is the square root of 30 times that: 1.4 units.
"""

SUMMED = 512
"""Rounding of the sums within operations, in float32 units in the last place.

Matrix products accumulate in float32 with every dtype. Each of 15 consecutive products sums up to
64 terms with an error of half a unit each: 480 units if no two errors cancel.
"""

TRAINED = 4
"""Factor by which a few steps of training increase the differences.

Each step starts from weights that already differ. AdamW divides a gradient by its size, so the
error of a small gradient has the same effect as that of a large one.
"""


def stored(dtype: str) -> float:
    """Return the relative tolerance of numbers that are rounded once to a dtype."""
    return torch.finfo(getattr(torch, dtype)).eps


def forward(dtype: str) -> float:
    """Return the tolerance of log-probabilities, losses and logits of one model.

    Args:
        dtype: Of the weights and of the forward pass, such as `bfloat16`.
    """
    return STORED * stored(dtype) + SUMMED * stored("float32")


def training(dtype: str) -> float:
    """Return the tolerance of trained weights, and of numbers that depend on them.

    Args:
        dtype: Of the weights and of the forward pass.
    """
    return TRAINED * forward(dtype)


def close(expected: Any, within: float) -> Any:
    """Return an object that equals all numbers close to the expected ones.

    Args:
        expected: A number, or a list, dictionary or array of them.
        within: The tolerance, relative and absolute: what is close to 0 comes of terms of
            the order of 1, and has their error.
    """
    return pytest.approx(expected, rel=within, abs=within)


def assert_close(found: torch.Tensor, expected: torch.Tensor, within: float) -> None:
    """Assert that two tensors have the same dtype, the same shape and close values."""
    torch.testing.assert_close(found, expected, rtol=within, atol=within)


def assert_frames_close(found: pd.DataFrame, expected: pd.DataFrame, within: float) -> None:
    """Assert that two tables have close floating-point numbers and are equal otherwise."""
    pd.testing.assert_frame_equal(found, expected, rtol=within, atol=within)
