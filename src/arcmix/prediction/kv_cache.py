"""The key-value cache of attention, with formats of fewer bits, and attention without copies.

A format rounds keys and values to the precision of a quantized cache, but stores them in the
model's dtype. The answers are those of a quantized cache, but no memory is saved. Keys and values
are rounded before the pass that computes them attends to them, so an answer does not depend on the
number of its tokens that one pass reads.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, Cache, PreTrainedModel
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

GROWTH = 64
"""Slots to add at once when a cache is full."""

ATTENTION = "folded"
"""Name under which transformers knows the attention of this module."""

KINDS = ("full_attention", "sliding_attention")
"""Kinds of layers whose keys and values are cached."""

MAX_SLOTS_PER_TOKEN = 1.25
"""The cache is compacted when it has more slots than this for each token of the longest row."""


def _float8(dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a cast to an 8-bit dtype and back, without a scale, as vLLM's `kv_cache_dtype`."""
    largest = torch.finfo(dtype).max
    return lambda states: states.clamp(-largest, largest).to(dtype).to(states.dtype)


def _integer(bits: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a rounding to signed integers of `bits` bits, with a scale per token and head."""
    largest = 2 ** (bits - 1) - 1

    def rounded(states: torch.Tensor) -> torch.Tensor:
        exact = states.float()
        scale = exact.abs().amax(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        return ((exact / scale * largest).round() / largest * scale).to(states.dtype)

    return rounded


FORMATS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": lambda states: states,
    "fp8_e5m2": _float8(torch.float8_e5m2),
    "fp8_e4m3": _float8(torch.float8_e4m3fn),
    "int8": _integer(8),
    "int4": _integer(4),
}
"""Format -> the function that rounds keys or values, float (rows, heads, tokens, size)."""


def folded(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **settings: Any,  # noqa: ANN401 - the model's, for transformers
) -> tuple[torch.Tensor, None]:
    """Attend as sdpa of transformers, without dropout and without copies of keys and values.

    In grouped-query attention, several query heads share one head of keys. With a mask and more
    than one token, sdpa copies the keys for each query head. Here, the query heads of a group are
    folded into the token axis instead, which copies the mask. If the copied mask would be larger
    than the copied keys, sdpa is used.

    Args:
        module: The layer.
        query: Float (rows, heads, tokens, size).
        key: Float (rows, key heads, slots, size); `heads` is a multiple of `key heads`.
        value: Float, of the shape of `key`.
        attention_mask: The slots that each token attends to, bool (rows, 1, tokens, slots); None
            for causal attention.
        settings: Further arguments of sdpa.

    Returns:
        The output, float (rows, tokens, heads, size), and None for the attention weights.
    """
    rows, heads, tokens, size = query.shape
    if attention_mask is None or tokens > key.shape[1] * size:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
    group = heads // key.shape[1]
    output = torch.nn.functional.scaled_dot_product_attention(
        query.reshape(rows, -1, group * tokens, size),
        key,
        value,
        attn_mask=attention_mask.repeat(1, 1, group, 1),
        scale=settings["scaling"],
    )
    return output.reshape(query.shape).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, folded)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def other_kinds(model: PreTrainedModel) -> list[str]:
    """Return the kinds of layers of a model whose keys and values cannot be cached."""
    kinds = getattr(model.config.get_text_config(), "layer_types", None) or []
    return sorted({*kinds} - {*KINDS})


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


class Slots(DynamicLayer):
    """The keys and values of one layer, in slots that are allocated ahead of their use.

    Args:
        format_: Format of the keys and values, one of `FORMATS`.
        reserved: Number of slots to allocate at first; 0 for a cache that grows.
    """

    def __init__(self, format_: str, reserved: int) -> None:
        super().__init__()
        self._round, self._reserved, self._used = FORMATS[format_], reserved, 0
        self._stored: list[torch.Tensor] = []

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append keys and values, float (rows, heads, tokens, size), and return all in use."""
        new = key_states, value_states
        start, self._used = self._used, self._used + key_states.shape[2]
        if not self._stored:
            self._stored = [states[:, :, :0] for states in new]
        capacity = self._stored[0].shape[2]
        if self._used > capacity:
            more = max(self._reserved, self._used + GROWTH) - capacity
            # Zeros instead of uninitialized memory: attention weight 0 times nan would be nan.
            self._stored = [torch.nn.functional.pad(one, (0, 0, 0, more)) for one in self._stored]
        for states, one in zip(new, self._stored, strict=True):
            one[:, :, start : self._used] = self._round(states)
        keys, values = (one[:, :, : self._used] for one in self._stored)
        return keys, values

    def get_seq_length(self) -> int:
        """Return the number of slots in use."""
        return self._used

    def concatenate(self, parts: Sequence["Slots"]) -> None:
        """Take over the rows of other layers, aligned at their last slots, and empty these."""
        self._used = max(part.get_seq_length() for part in parts)
        capacity = max(self._reserved, self._used + GROWTH)
        released = [part.release(self._used, capacity) for part in parts]
        self._stored = [torch.cat(states) for states in zip(*released, strict=True)]

    def release(self, used: int, capacity: int) -> list[torch.Tensor]:
        """Return the keys and the values, and empty the layer.

        Args:
            used: Number of slots to pad to in front, so that the states end there.
            capacity: Number of slots of the returned tensors.
        """
        gap = (0, 0, used - self._used, capacity - used)
        states = [one[:, :, : self._used] for one in self._stored]
        self._stored, self._used = [], 0
        return [torch.nn.functional.pad(one, gap) for one in states]

    def select_rows(self, rows: torch.Tensor) -> None:
        """Keep some rows, int64 (n,), in this order; a row may occur several times."""
        self._stored = [one[rows] for one in self._stored]

    def select_slots(self, slots: torch.Tensor) -> None:
        """Keep some slots of each row, int64 (rows, slots), in this order."""
        for place, one in enumerate(self._stored):
            rows, heads, _, size = one.shape
            index = slots[:, None, :, None].expand(rows, heads, -1, size)
            self._stored[place] = one.gather(2, index)
        self._used = slots.shape[1]


class Rows:
    """A batch of texts that a model reads side by side, each to its own length.

    The tokens of a row are stored in slots. A mask says which slots of a row hold its tokens. So
    rows may differ in length, and rejected tokens are discarded by masking their slots.

    Args:
        model: A causal language model that passes `check`; sdpa becomes `folded`.
        format_: Format of the keys and values, one of `FORMATS`.
        reserved: Number of slots to allocate at first; 0 for a cache that grows.
    """

    def __init__(self, model: PreTrainedModel, format_: str, reserved: int) -> None:
        # Models without sdpa cap their scores, or have more keys than there are tokens.
        if model.config._attn_implementation == "sdpa":  # noqa: SLF001 - nothing else tells it
            model.set_attn_implementation(ATTENTION)
        self.model = model
        self.format = format_
        self.config = model.config.get_text_config()
        layers = [Slots(format_, reserved) for _ in range(self.config.num_hidden_layers)]
        self.cache = Cache(layers=list(layers))
        self.layers = layers
        self.mask = torch.zeros(0, 0, dtype=torch.bool, device=model.device)
        self.lengths: list[int] = []

    def read(self, tokens: Sequence[Sequence[int]], keep: int) -> torch.Tensor:
        """Append tokens to each row, and return the logits after the last ones.

        Args:
            tokens: The next tokens of each row; may be empty.
            keep: Number of last tokens whose logits are returned. In a row with fewer tokens, the
                first logits have no meaning.

        Returns:
            Logits (rows, keep, vocabulary), in the model's dtype.
        """
        if not self.lengths:
            self.lengths = [0] * len(tokens)
            self.mask = self.mask.new_zeros(len(tokens), 0)
        self.lengths = [length + len(new) for length, new in zip(self.lengths, tokens, strict=True)]
        count = max(map(len, tokens))
        gaps = [count - len(new) for new in tokens]
        ids = torch.tensor([[0] * gap + [*new] for gap, new in zip(gaps, tokens, strict=True)])
        ends = torch.tensor(self.lengths)[:, None]
        positions = (ends - count + torch.arange(count)).clamp(min=0)
        own = torch.arange(count) >= torch.tensor(gaps)[:, None]
        device = self.model.device
        self.mask = torch.cat([self.mask, own.to(device)], dim=1)
        return self.model(
            input_ids=ids.to(device),
            attention_mask=None if self.mask.all() else self._attention_mask(count),
            position_ids=positions.to(device),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=keep,
        ).logits

    def _attention_mask(self, count: int) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the mask of the last `count` tokens, in one of the forms that transformers takes.

        A window counts tokens. transformers would count slots, of which some are masked.
        """
        window = getattr(self.config, "sliding_window", None)
        if window is None or self.mask.shape[1] <= window:
            return self.mask
        slots = self.mask.shape[1]
        place = torch.arange(slots, device=self.mask.device)
        # A gap attends to itself, because attention to nothing is not a number.
        seen = self.mask[:, None] & (place <= place[-count:, None])
        seen |= place == place[-count:, None]
        tokens = self.mask.cumsum(dim=1)
        near = seen & (tokens[:, -count:, None] - tokens[:, None] < window)
        masks = {
            "full_attention": self._as_scores(seen),
            "sliding_attention": self._as_scores(near),
        }
        kinds = getattr(self.config, "layer_types", None)
        return masks if kinds else masks["sliding_attention"]

    def _as_scores(self, seen: torch.Tensor) -> torch.Tensor:
        """Return a mask, bool (rows, tokens, slots), as the attention of the model takes it."""
        if self.model.config._attn_implementation == ATTENTION:  # noqa: SLF001 - as above
            return seen[:, None]
        scores = torch.zeros(seen.shape, dtype=self.model.dtype, device=seen.device)
        return scores.masked_fill(~seen, torch.finfo(scores.dtype).min)[:, None]

    def concatenate(self, parts: Sequence["Rows"]) -> None:
        """Take over the rows of other batches, one batch after another, and empty these."""
        for number, layer in enumerate(self.layers):
            layer.concatenate([part.layers[number] for part in parts])
        self.lengths = [length for part in parts for length in part.lengths]
        slots = max(part.mask.shape[1] for part in parts)
        self.mask = torch.cat(
            [torch.nn.functional.pad(part.mask, (slots - part.mask.shape[1], 0)) for part in parts]
        )

    def discard(self, counts: Sequence[int]) -> None:
        """Discard the last `counts[row]` tokens of each row; they belong to the last `read`."""
        if not any(counts):
            return
        slots = self.mask.shape[1]
        ends = torch.tensor([slots - count for count in counts], device=self.mask.device)
        # The last `read` stored its tokens in the last slots.
        self.mask &= torch.arange(slots, device=self.mask.device) < ends[:, None]
        self.lengths = [length - count for length, count in zip(self.lengths, counts, strict=True)]

    def select(self, rows: Sequence[int]) -> None:
        """Keep some rows in this order; a row may occur several times."""
        if [*rows] != [*range(len(self.lengths))]:
            chosen = torch.tensor([*rows], device=self.mask.device)
            self.mask = self.mask[chosen]
            self.lengths = [self.lengths[row] for row in rows]
            for layer in self.layers:
                layer.select_rows(chosen)
        self._compact()

    def _compact(self) -> None:
        """Remove masked slots once there are many."""
        longest = max(self.lengths)
        if self.mask.shape[1] <= longest * MAX_SLOTS_PER_TOKEN + GROWTH:
            return
        # A stable sort keeps the tokens of a row in order, after its masked slots.
        slots = self.mask.byte().argsort(dim=1, stable=True)[:, -longest:]
        self.mask = self.mask.gather(1, slots)
        for layer in self.layers:
            layer.select_slots(slots)
