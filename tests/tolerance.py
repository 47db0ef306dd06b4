"""How far apart two ways to compute the same number may be.

Processors, numbers of threads, packings of rows and layouts of memory order the same sums
differently, so their results differ by rounding. Tests compare such results within a tolerance
that this module derives from the dtype. The models of the tests have two layers of width 32,
and their log-probabilities and losses are of the order of 1 to 10.

A test asks for exact equality only where one machine repeats the same computation: the same
inputs in the same batches, by the same number of threads, at the same alignment in memory.
"""

from typing import Any

import pandas as pd
import pytest
import torch

STORED = 2
"""Units in the last place that the values between two operations cost.

Each of some 30 operations in a row rounds its result to the dtype, by a quarter of a unit on
average and in either direction, which adds up to the square root of 30 times that: 1.4 units.
"""

SUMMED = 512
"""Units in the last place of float32 that the sums within the operations cost.

A product of matrices adds up in float32 whatever the dtype. The 15 products in a row add up to
64 terms each, and each term costs half a unit: 480 units if no two errors cancel.
"""

TRAINED = 4
"""How much further apart results are after a few steps of training.

Each step starts from weights that are apart already, and AdamW divides a gradient by its size,
which gives the error of a small gradient the weight of a large one.
"""


def stored(dtype: str) -> float:
    """Return the relative tolerance for numbers that were rounded once, to a dtype."""
    return torch.finfo(getattr(torch, dtype)).eps


def forward(dtype: str) -> float:
    """Return the tolerance for log-probabilities, losses and logits of one model.

    Args:
        dtype: Of the weights and of the forward pass, such as `bfloat16`.
    """
    return STORED * stored(dtype) + SUMMED * stored("float32")


def training(dtype: str) -> float:
    """Return the tolerance for weights after some steps of training, and for what they give.

    Args:
        dtype: Of the weights and of the forward pass.
    """
    return TRAINED * forward(dtype)


def close(expected: Any, within: float) -> Any:
    """Return what equals numbers close to the expected ones.

    Args:
        expected: A number, or a list, dictionary or array of them.
        within: The tolerance, relative and absolute: what is close to 0 comes of terms of
            the order of 1, and has their error.
    """
    return pytest.approx(expected, rel=within, abs=within)


def assert_close(found: torch.Tensor, expected: torch.Tensor, within: float) -> None:
    """Assert that two tensors have one dtype, one shape and close values."""
    torch.testing.assert_close(found, expected, rtol=within, atol=within)


def assert_frames_close(found: pd.DataFrame, expected: pd.DataFrame, within: float) -> None:
    """Assert that two tables are equal, but for numbers of floating point, which are close."""
    pd.testing.assert_frame_equal(found, expected, rtol=within, atol=within)
