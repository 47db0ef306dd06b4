"""Adapters of several tasks in one model: each token goes through the adapter of its own task.

All tasks have the same base weights, so a packed row may hold the texts of several tasks. They
share the products with the base weights, which are nearly all of the work, and the launches of a
GPU. The products with the weights of an adapter are grouped by task.

The trained weights of all tasks are one matrix with a row for each task, and the layers have views
of it. So an optimizer of elementwise operations, such as AdamW, updates each task as if it were
alone, and the norms, copies and updates of all tasks are one operation each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.dora import DoraLinearLayer
from peft.tuners.lora.layer import ParamWrapper
from peft.utils.integrations import dequantize_module_weight
from torch import nn
from torch.nn import functional

from arcmix.models.loss import token_losses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arcmix.models.adapters import Tuned
    from arcmix.text.tokenization import Example

ADAPTER = "default"
"""Name of the adapter in the layers of peft."""


class MixedError(ValueError):
    """A layer that does not read the tokens of a row one by one, so they have no known task."""


def weights(model: Tuned) -> torch.Tensor:
    """Return a copy of the trained weights of a model as one vector, (weights,)."""
    return torch.cat([one.detach().flatten() for one in _trained(model)])


@torch.no_grad()
def restore(model: Tuned, saved: torch.Tensor) -> None:
    """Set the trained weights of a model in place, to those that `weights` returned."""
    trained = _trained(model)
    parts = saved.split([one.numel() for one in trained])
    for one, part in zip(trained, parts, strict=True):
        one.copy_(part.view_as(one))


def can_stack(model: Tuned) -> bool:
    """Return whether all trained weights are those of LoRA or DoRA on linear layers."""
    places = _places(model)
    return all(one in places for one in _trained(model))


def _trained(model: Tuned) -> list[nn.Parameter]:
    return [one for one in model.parameters() if one.requires_grad]


def _places(model: Tuned) -> dict[nn.Parameter, nn.ModuleDict]:
    """Return each weight that can be stacked -> the dictionary that holds its module."""
    return {
        cast("nn.Parameter", place[ADAPTER].weight): place
        for layer in model.modules()
        if isinstance(layer, LoraLayer) and not isinstance(layer, ParamWrapper)
        for place in (layer.lora_A, layer.lora_B, layer.lora_magnitude_vector)
        if ADAPTER in place and _is_linear(place[ADAPTER])
    }


def _is_linear(module: nn.Module) -> bool:
    if type(module) is DoraLinearLayer:
        return not module.fan_in_fan_out
    return isinstance(module, nn.Linear)


def moved(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return an array on a device; the host does not wait for its earlier work."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


class Row:
    """The tasks of the tokens of a forward pass, which are in the order of the tasks."""

    def __init__(self, counts: Sequence[int], device: torch.device, seeds: np.ndarray) -> None:
        """Prepare the indices of a pass.

        Args:
            counts: Number of tokens of each task.
            device: Device of the model.
            seeds: Seed of each dropout of each task, uint64 (tasks, dropouts).
        """
        self.counts = [*counts]
        self.longest = max(counts)
        self.seeds = seeds
        tasks = np.repeat(np.arange(len(counts)), counts)
        starts = np.cumsum([0, *counts[:-1]])
        padded = np.arange(len(tasks)) + (np.arange(len(counts)) * self.longest - starts)[tasks]
        self.tasks, self.padded = moved(np.stack([tasks, padded]), device)
        """Task of each token, int64 (tokens,); and its index in (tasks * longest,), where each task
        has `longest` tokens."""


def products(x: torch.Tensor, weight: torch.Tensor, row: Row) -> torch.Tensor:
    """Return the product of each token with the weight of its task, (tokens, out).

    Args:
        x: The tokens in the order of their tasks, (tokens, in).
        weight: The weight of each task, (tasks, out, in).
        row: The tasks of the tokens.
    """
    if x.is_cuda:
        return padded_products(x, weight, row)
    parts = zip(x.split(row.counts), weight.unbind(), strict=True)
    return torch.cat([functional.linear(part, one) for part, one in parts])


def padded_products(x: torch.Tensor, weight: torch.Tensor, row: Row) -> torch.Tensor:
    """Return the same as `products`, by one batched product for any number of tasks."""
    count = len(row.counts)
    padded = x.new_zeros(count * row.longest, x.shape[1]).index_copy(0, row.padded, x)
    found = torch.bmm(padded.view(count, row.longest, -1), weight.transpose(1, 2))
    return found.flatten(0, 1).index_select(0, row.padded)


class Stack:
    """A model in which a context replaces the adapter by adapters of several tasks.

    In the context, `losses` reads with `weights`, and a backward pass adds to `weights.grad`. After
    it, the model has its own adapter again. A single task needs no layers that can be stacked.
    """

    def __init__(self, model: Tuned, start: torch.Tensor, count: int) -> None:
        """Prepare `count` copies of an adapter.

        Args:
            model: A model with an adapter.
            start: The trained weights of each task at first, as `weights` returns them.
            count: Number of tasks; above 1 only if `can_stack`.
        """
        self.model = model
        self.weights = nn.Parameter(start.repeat(count, 1))
        """The trained weights of each task, float32 (tasks, weights)."""
        self.weights.grad = torch.zeros_like(self.weights)
        self.dropouts = 0
        """Number of layers with dropout."""
        self._single = count == 1
        self._trained = _trained(model)
        self._before = [one.data for one in self._trained]
        self._shapes = [one.shape for one in self._trained]
        self._layers: list[_Linear | _Dora] = []
        self._replaced: list[tuple[nn.ModuleDict, nn.Module]] = []
        self._row: Row | None = None

    @property
    def gradients(self) -> torch.Tensor:
        """The gradients of `weights`, (tasks, weights)."""
        return cast("torch.Tensor", self.weights.grad)

    @property
    def row(self) -> Row:
        """The row that the model reads."""
        if self._row is None:
            raise RuntimeError("the model reads rows of several tasks by `losses` only")
        return self._row

    def __enter__(self) -> Self:
        """Put the adapters of all tasks in the place of the model's own."""
        if self._single:
            # The layers of peft do, with parameters that are views.
            data, gradients = self._split(self.weights.detach()), self._split(self.gradients)
            for one, own, grad in zip(self._trained, data, gradients, strict=True):
                one.data, one.grad = own[0], grad[0]
        else:
            places = _places(self.model)
            for one in self._trained:
                dora = isinstance(places[one][ADAPTER], DoraLinearLayer)
                self._layers.append(_Dora(self, one.data) if dora else _Linear(self, one.data))
                self._replace(places[one], self._layers[-1])
        for layer in self.model.modules():
            if isinstance(layer, LoraLayer) and ADAPTER in layer.lora_dropout:
                found = layer.lora_dropout[ADAPTER]
                if isinstance(found, nn.Dropout):
                    self._replace(layer.lora_dropout, _Dropout(self, found.p, self.dropouts))
                    self.dropouts += 1
        return self

    def _split(self, weights: torch.Tensor) -> list[torch.Tensor]:
        """Return the weights of each parameter, each (tasks, *shape)."""
        parts = weights.split([shape.numel() for shape in self._shapes], 1)
        return [part.view(-1, *shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def _replace(self, place: nn.ModuleDict, module: nn.Module) -> None:
        self._replaced.append((place, place[ADAPTER]))
        place[ADAPTER] = module

    def __exit__(self, *_: object) -> None:
        """Put the model's own adapter back."""
        for place, module in self._replaced:
            place[ADAPTER] = module
        for one, data in zip(self._trained, self._before, strict=True):
            one.grad, one.data = None, data
        self._replaced, self._layers, self._row, self.dropouts = [], [], None, 0

    def keep(self, tasks: Sequence[int]) -> None:
        """Drop the weights of all but some of several tasks; the others keep their order."""
        self.weights.grad = None
        self.weights.data = self.weights.data[[*tasks]]
        self.weights.grad = torch.zeros_like(self.weights)

    def losses(
        self, parts: Sequence[Sequence[Example]], seeds: np.ndarray | None = None
    ) -> torch.Tensor:
        """Return the loss of each token that carries loss (`loss.token_losses`), in task order.

        Args:
            parts: The examples of each task in one packed row.
            seeds: Seed of each dropout of each task, uint64 (tasks, dropouts). Equal seeds draw
                the same dropout for a task, whatever the other tasks are.
        """
        counts = [sum(len(one.input_ids) for one in part) for part in parts]
        none = np.zeros((len(parts), self.dropouts), np.uint64)
        self._row = Row(counts, self.weights.device, none if seeds is None else seeds)
        for layer, weight in zip(self._layers, self._split(self.weights), strict=False):
            layer.weight = weight
        return token_losses(self.model, [one for part in parts for one in part])


class _Layer(nn.Module):
    """A module that knows the task of each token."""

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self.stack = [stack]  # in a list, because it is no part of this module

    def tokens(self, x: torch.Tensor) -> tuple[torch.Tensor, Row]:
        """Return the tokens of an input, (tokens, width), and the row that they are from."""
        row, flat = self.stack[0].row, x.reshape(-1, x.shape[-1])
        if len(flat) != len(row.tasks):
            counts = f"{len(flat)} of {len(row.tasks)}"
            raise MixedError(f"a layer with an adapter reads {counts} tokens of a row")
        return flat, row


class _Linear(_Layer):
    """The matrices A or B of all tasks, in place of one."""

    def __init__(self, stack: Stack, weight: torch.Tensor) -> None:
        super().__init__(stack)
        self.weight = weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat, row = self.tokens(x)
        # peft has cast x to float32, unless `products` casts the weights to the dtype of x.
        return products(flat, self.weight.to(x.dtype), row).view(*x.shape[:-1], -1)


class _Dora(_Layer):
    """The magnitudes of all tasks, in place of peft's `DoraLinearLayer`."""

    def __init__(self, stack: Stack, weight: torch.Tensor) -> None:
        super().__init__(stack)
        self.weight = weight

    def forward(
        self,
        x: torch.Tensor,
        *,
        lora_A: _Linear,  # noqa: N803 - peft's name
        lora_B: _Linear,  # noqa: N803 - peft's name
        scaling: float,
        base_layer: nn.Module,
        base_result: torch.Tensor | None = None,
        adapter_name: str = ADAPTER,
    ) -> torch.Tensor:
        del adapter_name
        _, row = self.tokens(x)
        base = cast("torch.Tensor", dequantize_module_weight(cast("Any", base_layer))).to(x.dtype)
        if base_result is None:
            base_result = functional.linear(x, base)
        elif base_layer.bias is not None:
            base_result = base_result - cast("torch.Tensor", base_layer.bias)
        norms = _norms(base, lora_A.weight.detach(), scaling * lora_B.weight.detach())
        scale = (self.weight / norms)[row.tasks].view(*x.shape[:-1], -1)
        return (scale - 1) * base_result + scale * lora_B(lora_A(x)) * scaling


def _norms(base: torch.Tensor, down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """Return the norms of the rows of W + B A for each task, (tasks, out).

    The square of a row w + b A is |w|^2 + 2 b A w + b A A' b', which needs no matrix of the size
    of W for each task.

    Args:
        base: W, (out, in).
        down: A of each task, (tasks, rank, in).
        up: B of each task, (tasks, out, rank).
    """
    mixed = (2 * base @ down.transpose(1, 2) + up @ (down @ down.transpose(1, 2))) * up
    return (base.square().sum(1) + mixed.sum(2)).clamp_min(0).sqrt()


class _Dropout(_Layer):
    """Dropout whose draws for a task depend only on its seed and on its own tokens."""

    def __init__(self, stack: Stack, share: float, number: int) -> None:
        super().__init__(stack)
        self.share = share
        self.number = number

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        seeds, kept = self.stack[0].row.seeds[:, self.number], 1 - self.share
        draws = torch.empty_like(x)
        parts = [draws] if len(seeds) == 1 else self._split(draws)
        generator = torch.Generator(x.device)
        # A seed for each layer and pass, so that a checkpoint that recomputes it draws the same.
        for part, seed in zip(parts, seeds, strict=True):
            part.bernoulli_(kept, generator=generator.manual_seed(int(seed)))
        return x * draws.mul_(1 / kept if kept else 0.0)

    def _split(self, draws: torch.Tensor) -> Sequence[torch.Tensor]:
        flat, row = self.tokens(draws)
        return flat.split(row.counts)
