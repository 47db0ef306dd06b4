"""The keys and values of attention, with formats of fewer bits.

A format rounds keys and values to the precision of a quantized cache, but stores them in the
model's dtype. The answers are those of a quantized cache, but no memory is saved. Keys and values
are rounded before the pass that computes them attends to them, so an answer does not depend on the
number of its tokens that one pass reads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicLayer

from arcmix.prediction.shapes import rounded

GROWTH = 64
"""Slots to add at least when a cache is full."""

SHARE = 1 / 4
"""Part of an accelerator's free memory for keys and values. A cache that grows is copied, and
logits take memory as well."""

CPU_TOKENS = 16384
"""Tokens that are answered at once where the limit is `auto` and memory is not known."""

KINDS = ("full_attention", "sliding_attention")
"""Kinds of layers whose keys and values are cached."""


def _float8(dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a cast to an 8-bit dtype and back, without a scale, as vLLM's `kv_cache_dtype`."""
    largest = torch.finfo(dtype).max
    return lambda states: states.clamp(-largest, largest).to(dtype).to(states.dtype)


def _integer(bits: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a rounding to signed integers of `bits` bits, with a scale per token and head."""
    largest = 2 ** (bits - 1) - 1

    def to_integers(states: torch.Tensor) -> torch.Tensor:
        exact = states.float()
        scale = exact.abs().amax(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        return ((exact / scale * largest).round() / largest * scale).to(states.dtype)

    return to_integers


FORMATS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": lambda states: states,
    "fp8_e5m2": _float8(torch.float8_e5m2),
    "fp8_e4m3": _float8(torch.float8_e4m3fn),
    "int8": _integer(8),
    "int4": _integer(4),
}
"""Format -> the function that rounds keys or values, float (rows, heads, tokens, size)."""


def other_kinds(model: PreTrainedModel) -> list[str]:
    """Return the kinds of layers of a model whose keys and values cannot be cached."""
    kinds = getattr(model.config.get_text_config(), "layer_types", None) or []
    return sorted({*kinds} - {*KINDS})


def token_bytes(model: PreTrainedModel) -> int:
    """Return the size of the keys and values of one token in bytes."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * heads * size * model.dtype.itemsize


def room(model: PreTrainedModel, limit: int | Literal["auto"]) -> int:
    """Return the number of tokens whose keys and values are kept at once.

    Args:
        model: A causal language model.
        limit: A number that is returned as it is, or `auto`: what takes a quarter of the free
            memory of a CUDA device, elsewhere `CPU_TOKENS`.
    """
    if limit != "auto":
        return limit
    if model.device.type != "cuda":
        return CPU_TOKENS
    free, _ = torch.cuda.mem_get_info(model.device)
    # Memory that torch holds and does not use is not free for other programs.
    held = torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
    return max(1, int((free + held) * SHARE) // token_bytes(model))


def check(model: PreTrainedModel, longest: int) -> None:
    """Refuse a model that cannot answer texts so long.

    Args:
        model: A causal language model.
        longest: Number of tokens of the longest text, its answer included.

    Raises:
        ValueError: If the model has fewer positions than the longest text has tokens, or if its
            position embeddings change with the longest text of a batch (longrope and dynamic of
            transformers).
    """
    config = model.config.get_text_config()
    remedy = (
        "lower scales.SCALE.validation.max_tokens, scales.SCALE.finetune.max_tokens or"
        " predict.max_side, or take another model"
    )
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and longest > positions:
        raise ValueError(
            f"the model has {positions} positions, got texts of up to {longest} tokens; {remedy}"
        )
    rope = getattr(config, "rope_parameters", None) or {}
    limit = rope.get("original_max_position_embeddings", positions) or longest
    if rope.get("rope_type") in ("longrope", "dynamic") and longest > limit:
        raise ValueError(
            f"the model changes its position embeddings for texts of more than {limit} tokens, got"
            f" texts of up to {longest}; {remedy}"
        )


@dataclass(frozen=True)
class Pass:
    """What the layers need to know of a pass."""

    slots: torch.Tensor
    """The slot of each new token, int64 (rows, tokens)."""
    view: int
    """Number of slots that are attended to."""
    past: int
    """Number of tokens of each row before the pass, if transformers makes the mask."""


class Slots(DynamicLayer):
    """The keys and values of one layer, in slots that are allocated ahead of their use.

    Args:
        format_: Format of the keys and values, one of `FORMATS`.
        reserved: Number of slots to allocate at least.
        step: The number of slots is a multiple of it.
    """

    def __init__(self, format_: str, reserved: int, step: int) -> None:
        super().__init__()
        self._round, self._reserved, self._step = FORMATS[format_], reserved, step
        self.stored: list[torch.Tensor] = []
        self.current = Pass(torch.zeros(0, 0, dtype=torch.int64), 0, 0)
        self._least = 0, 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store keys and values, float (rows, heads, tokens, size), and return all in view."""
        slots, view = self.current.slots, self.current.view
        new = key_states, value_states
        if not self.stored:
            self.stored = [states[:0, :, :0] for states in new]
            self.fit(*self._least)
        rows = len(slots)
        place = torch.arange(rows, device=slots.device)[:, None]
        for states, one in zip(new, self.stored, strict=True):
            one[place, :, slots] = self._round(states).transpose(1, 2)
        keys, values = (one[:rows, :, :view] for one in self.stored)
        return keys, values

    def get_seq_length(self) -> int:
        """Return the number of tokens of each row before the pass, for the mask."""
        return self.current.past

    @property
    def address(self) -> int:
        """The address of the keys; 0 if there are none."""
        return self.stored[0].data_ptr() if self.stored else 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the number of slots in view, and the first of them."""
        return max(self.current.view, query_length), 0

    def fit(self, rows: int, slots: int) -> None:
        """Allocate memory for more rows and slots if there is too little."""
        self._least = rows, slots
        if not self.stored:
            return
        old_rows, _, old_slots, _ = self.stored[0].shape
        if rows <= old_rows and slots <= old_slots:
            return
        rows = max(rows, old_rows)
        if slots > old_slots:
            slots = max(self._reserved, rounded(slots + GROWTH, self._step))
        slots = max(slots, old_slots)
        for place, one in enumerate(self.stored):
            # Zeros instead of uninitialized memory: attention weight 0 times nan would be nan.
            more = one.new_zeros(rows, one.shape[1], slots, one.shape[3])
            more[:old_rows, :, :old_slots] = one
            self.stored[place] = more

    def extend(self, parts: Sequence["Slots"], lengths: Sequence[Sequence[int]], rows: int) -> None:
        """Store the rows of other layers behind the first `rows`, and empty these layers.

        Args:
            parts: The other layers.
            lengths: The number of tokens of each row of each part.
            rows: Number of rows of this layer.
        """
        if not self.stored:
            self.stored = [one[:0, :, :0] for one in parts[0].stored]
        self.fit(rows + sum(map(len, lengths)), max(map(max, lengths)))
        for part, own in zip(parts, lengths, strict=True):
            for one, more in zip(self.stored, part.stored, strict=True):
                one[rows : rows + len(own), :, : max(own)] = more[: len(own), :, : max(own)]
            rows += len(own)
            part.stored = []

    def move(self, to: torch.Tensor, rows: torch.Tensor, count: int, slots: int) -> None:
        """Copy some rows over others.

        Args:
            to: The rows that are overwritten, int64 (n,).
            rows: The rows that are copied, int64 (n,).
            count: Number of rows after it.
            slots: Number of slots to copy.
        """
        self.fit(count, 0)
        for one in self.stored:
            one[to, :, :slots] = one[rows, :, :slots]
