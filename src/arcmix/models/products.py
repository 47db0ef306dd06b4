"""The dtype in which an adapter computes: on an accelerator, that of the model.

peft keeps the weights of LoRA in float32, and casts the input of each layer to float32 to multiply
it with them. On a card, casts took 22 % of the time of a step (docs/benchmarks.md). In bfloat16,
the weights are cast instead, which are small. They, their gradients and the optimizer stay in
float32, so that small updates add up.

A CPU computes as peft does, and so does a card in float16, where small gradients may underflow.
"""

from typing import cast

import torch
from peft.tuners.lora import Linear
from torch import nn
from torch.nn import functional

from arcmix.models.stacked import ADAPTER


class Cast(nn.Linear):
    """A matrix without bias whose product has the dtype of its input.

    Args:
        weight: The weights, which are shared.
    """

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__(weight.shape[1], weight.shape[0], bias=False, device="meta")
        self.weight = weight

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        """Return the product of an input, float (..., in), with the weights, of its dtype."""
        return functional.linear(input, self.weight.to(input.dtype))


def in_dtype_of_model(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether adapters compute in the dtype of the model.

    Args:
        device: The device of the model.
        dtype: The dtype of the model.
    """
    return device.type != "cpu" and dtype == torch.bfloat16


def follow_inputs(model: nn.Module) -> None:
    """Make LoRA's two products of each linear layer compute in the dtype of the layer's input.

    An adapter that is not trained may have weights of the model's dtype instead, with the same
    results: `autocast_adapter_dtype` of peft.

    DoRA keeps computing in float32, because it subtracts norms that differ little.

    Args:
        model: A model with adapters of peft, which are changed in place.
    """
    for layer in model.modules():
        if isinstance(layer, Linear) and not layer.lora_variant:
            layer.cast_input_dtype_enabled = False
            for side in (layer.lora_A, layer.lora_B):
                side[ADAPTER] = Cast(cast("nn.Parameter", side[ADAPTER].weight))
