"""The shapes of passes over texts side by side, by type of device.

An accelerator runs a pass in fixed shapes: the rows, the tokens and the slots of a pass are rounded
up, because kernels are chosen anew for each new shape. It is fast only if many texts share a pass.
A CPU runs a pass as it is.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Shapes:
    """The shapes of the passes of a device. They change results by rounding only.

    A size is rounded up to a power of two if it is at most a step, else to a multiple of the step.
    A step of 1 rounds nothing.
    """

    rows: int
    """Step of the rows, a power of two."""
    tokens: int
    """Step of the new tokens of a row, a power of two."""
    slots: int
    """Step of the slots that are attended to, a power of two."""
    at_once: int
    """Maximum number of tokens, padding included, of a pass that reads prompts of several families
    or scores candidates, whose logits take memory. 0: each family has a pass of its own, and
    candidates have no limit."""
    joins: bool
    """Whether new prompts take the rows of complete answers. If not, a batch is answered alone."""


EXACT = Shapes(rows=1, tokens=1, slots=1, at_once=0, joins=False)
"""The shapes of a CPU. A single prompt uses all its cores, and a batch of several families is
slower because of its padding and masks."""

ROUNDED = Shapes(rows=16, tokens=64, slots=256, at_once=32768, joins=True)
"""The shapes of an accelerator. 64 rows of up to 4096 slots have some hundred shapes."""


def shapes_of(device: torch.device) -> Shapes:
    """Return the shapes of a type of device."""
    return EXACT if device.type == "cpu" else ROUNDED


def rounded(size: int, step: int) -> int:
    """Return a size, at least 1, rounded up as `Shapes` says."""
    if size > step:
        return -(-size // step) * step
    return 1 << (size - 1).bit_length()
