"""Transfers of tensors to the host, which stop an accelerator until its work is done."""

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

READS = {
    torch.Tensor.tolist,
    torch.Tensor.item,
    torch.Tensor.numpy,
    torch.Tensor.cpu,
    torch.Tensor.__bool__,
    torch.Tensor.__float__,
    torch.Tensor.__int__,
    torch.Tensor.__index__,
    torch.Tensor.nonzero,
}
"""Functions that bring values of a tensor to the host, on every device."""


class Transfers(TorchFunctionMode):
    """Counts the calls that would stop an accelerator, also on a CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Count a call, and do it."""
        self.count += func in READS
        return func(*args, **kwargs or {})


def counted(work: Callable[[], object]) -> int:
    """Return the number of transfers of some work."""
    with Transfers() as found:
        work()
    return found.count
