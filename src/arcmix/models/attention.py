"""Which tokens of a packed row see which, and an attention that needs no mask for it.

A token sees itself and the tokens before it in its own example, in a layer with a window only the
last ones of them. What a row states is the bounds of its examples. On a card, in half precision,
flash attention (`varlen_attn` of torch) reads the bounds, and computes nothing between examples.

Elsewhere, position ids that restart at each example tell transformers the same. It then masks the
square of the whole row, which on a CPU is as fast for rows of a few examples.
"""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "bounded"
"""Name under which transformers knows the attention of this module."""

HALF = (torch.bfloat16, torch.float16)
"""Dtypes of the kernel."""

MAX_HEAD = 256
"""Maximum size of a head of the kernel; the size is a multiple of 8."""

CAPABILITY = (8, 0)
"""Minimum compute capability of a card for the kernel."""


BOUNDS = "example_bounds"
"""Name of the argument with the bounds on the host, which need not wait for those on the card."""


def bounds(lengths: Sequence[int]) -> list[int]:
    """Return where the examples of a row begin, and where the last one ends: (examples + 1,).

    Args:
        lengths: Number of tokens of each example.
    """
    return [0, *itertools.accumulate(lengths)]


def arguments(model: torch.nn.Module, limits: Sequence[int], moved: torch.Tensor) -> dict[str, Any]:
    """Return the arguments that keep the examples of a row apart, beside the position ids.

    The first call gives the model the attention of this module, if it can use it: the model is on a
    card, in half precision, and transformers can run it with sdpa and with flash attention. So
    its scores have no cap, no sink and no mask of their own. Other models have no such arguments.

    Args:
        model: A causal language model of transformers, or a wrapper of one.
        limits: The bounds of the examples.
        moved: The same as a tensor on the device of the model, int64 (examples + 1,).
    """
    base = _base(model)
    if base is None:
        return {}
    if implementation(base) == "sdpa" and _usable(base):
        base.set_attn_implementation(NAME)
    if implementation(base) != NAME:
        return {}
    # transformers builds no mask if it gets one with four dimensions, and passes it on. Layers with
    # a state would read `cu_seq_lens_q`, but refuse it without a package of kernels.
    return {"attention_mask": moved.int()[None, None, None], BOUNDS: limits}


@contextlib.contextmanager
def restored(model: torch.nn.Module) -> Iterator[None]:
    """Restore the attention of a model at the end.

    Args:
        model: As in `arguments`.
    """
    base = _base(model)
    was = "" if base is None else implementation(base)
    try:
        yield
    finally:
        if base is not None and implementation(base) != was:
            base.set_attn_implementation(was)


def implementation(model: PreTrainedModel) -> str:
    """Return the name of a model's attention."""
    return cast("str", model.config._attn_implementation)  # noqa: SLF001 - nothing else tells it


def _base(model: torch.nn.Module) -> PreTrainedModel | None:
    """Return the model of transformers in a wrapper, such as that of an adapter or of ranks."""
    return next((one for one in model.modules() if isinstance(one, PreTrainedModel)), None)


def _usable(model: PreTrainedModel) -> bool:
    return (
        model.device.type == "cuda"
        and model.dtype in HALF
        and torch.cuda.get_device_capability(model.device) >= CAPABILITY
        and model._supports_flash_attn  # noqa: SLF001 - nothing else tells it
        and model._supports_attention_backend  # noqa: SLF001 - as above
    )


def bounded(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **settings: Any,  # noqa: ANN401 - the model's, for transformers
) -> tuple[torch.Tensor, None]:
    """Attend within the examples of a row; with another mask than bounds, as sdpa.

    The kernel has no dropout and takes few sizes of heads. Where it cannot be used, each example
    has a call of sdpa.

    Args:
        module: The layer.
        query: Float (rows, heads, tokens, size).
        key: Float (rows, key heads, tokens, size); `heads` is a multiple of `key heads`.
        value: Float, of the shape of `key`.
        attention_mask: The bounds of the examples of one row, int32 (1, 1, 1, examples + 1); or any
            mask of sdpa.
        settings: Further arguments of transformers.

    Returns:
        The output, float (rows, tokens, heads, size), and None for the attention weights.
    """
    if attention_mask is None or attention_mask.dtype != torch.int32:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
    window, limits = settings.get("sliding_window"), settings.get(BOUNDS)
    if limits is None:  # of a model that hands no further arguments to its layers
        limits = attention_mask.flatten().tolist()
    if not _fits_kernel(query, key, value, settings.get("dropout", 0.0)):
        return _by_example(module, (query, key, value), limits, window, settings), None
    longest = max(stop - start for start, stop in itertools.pairwise(limits))
    on_device = attention_mask.flatten()
    queries, keys, values = (states[0].transpose(0, 1) for states in (query, key, value))
    found = varlen_attn(
        queries,
        keys,
        values,
        on_device,
        on_device,
        longest,
        longest,
        scale=settings["scaling"],
        # The kernel does not count the token itself.
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=True,
    )
    return cast("torch.Tensor", found)[None], None


AttentionInterface.register(NAME, bounded)
AttentionMaskInterface.register(NAME, sdpa_mask)


def _fits_kernel(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout: float
) -> bool:
    size = query.shape[-1]
    return (
        not query.is_cpu
        and all(states.dtype == query.dtype and states.shape[-1] == size for states in (key, value))
        and query.dtype in HALF
        and size <= MAX_HEAD
        and size % 8 == 0
        and not dropout
    )


def _by_example(
    module: torch.nn.Module,
    states: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    limits: Sequence[int],
    window: int | None,
    settings: dict[str, Any],
) -> torch.Tensor:
    """Attend within one example after another; return the output of `bounded`."""
    outputs = []
    for start, stop in itertools.pairwise(limits):
        query, key, value = (one[:, :, start:stop] for one in states)
        mask = None
        if window is not None and stop - start > window:
            near = torch.ones(stop - start, stop - start, dtype=torch.bool, device=query.device)
            mask = near.tril().triu(1 - window)[None, None]
        outputs.append(sdpa_attention_forward(module, query, key, value, mask, **settings)[0])
    return torch.cat(outputs, dim=1)
