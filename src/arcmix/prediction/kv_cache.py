"""Attention, and its keys and values: kept in slots, if asked for in a format of few bits.

A format is a round trip: what is stored has been rounded to the format and is computed with in
the model's own type, so that its effect on the answers is that of a cache of this format, and
its memory is not. Keys and values are rounded as they are made, for the pass that makes them
too: so an answer does not depend on how many of its tokens are read at once.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, Cache, PreTrainedModel
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

GROWTH = 64
"""Slots that are added at once where none are reserved."""

ATTENTION = "folded"
"""Our attention's name among transformers' own."""

WASTE = 1.25
"""Slots for each token of the longest row, above which the empty ones are given up."""


def _float8(dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a cast to 8 bits and back, without a scale, as vLLM's `kv_cache_dtype` has it."""
    top = torch.finfo(dtype).max
    return lambda states: states.clamp(-top, top).to(dtype).to(states.dtype)


def _integer(bits: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a rounding to signed integers of so many bits, one scale for a token and a head."""
    top = 2 ** (bits - 1) - 1

    def rounded(states: torch.Tensor) -> torch.Tensor:
        exact = states.float()
        scale = exact.abs().amax(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        return ((exact / scale * top).round() / top * scale).to(states.dtype)

    return rounded


FORMATS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": lambda states: states,
    "fp8_e5m2": _float8(torch.float8_e5m2),
    "fp8_e4m3": _float8(torch.float8_e4m3fn),
    "int8": _integer(8),
    "int4": _integer(4),
}
"""Format -> the round trip of keys or values, float (rows, heads, tokens, size)."""


def folded(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **settings: Any,  # noqa: ANN401 - the model's, for transformers
) -> tuple[torch.Tensor, None]:
    """Attend as transformers' sdpa does, without dropout and with no copies of keys and values.

    Where there is a mask and more than one token, sdpa copies each head of the keys for each head
    of the queries that shares it. Here these are read as further tokens of one head, as long as
    what that copies of the mask is less.

    Args:
        module: The layer.
        query: Float (rows, heads, tokens, size).
        key: Float (rows, fewer heads, slots, size).
        value: The same.
        attention_mask: Which slots each token sees, bool (rows, 1, tokens, slots), if not all
            before it.
        settings: What else sdpa is given.

    Returns:
        Float (rows, tokens, heads, size), and no weights.
    """
    rows, heads, tokens, size = query.shape
    if attention_mask is None or tokens > key.shape[1] * size:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
    shared = heads // key.shape[1]
    found = torch.nn.functional.scaled_dot_product_attention(
        query.reshape(rows, -1, shared * tokens, size),
        key,
        value,
        attn_mask=attention_mask.repeat(1, 1, shared, 1),
        scale=settings["scaling"],
    )
    return found.reshape(query.shape).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, folded)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def check(model: PreTrainedModel, longest: int) -> None:
    """Refuse a model whose answers would depend on what is read beside them.

    Args:
        model: A causal language model.
        longest: Most tokens of a text, its answer included.

    Raises:
        ValueError: If attention slides over fewer tokens, or if the rotations of all positions
            change with the longest text that is read (longrope and dynamic of transformers).
    """
    config = model.config.get_text_config()
    lower = "lower scales.SCALE.validation.max_tokens or predict.max_side, or take another model"
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["full_attention", "sliding_attention"]
    if other := {*kinds} - {"full_attention", "sliding_attention"}:
        raise ValueError(f"a model with layers of {sorted(other)}; take one with full attention")
    # It counts slots, of which a row has some that are struck out.
    slots = int(longest * WASTE) + 2 * GROWTH
    if window is not None and "sliding_attention" in kinds and window < slots:
        raise ValueError(
            f"a model whose attention slides over {window} tokens, and texts of up to {longest}"
            f" take {slots}; {lower}"
        )
    rotations = getattr(config, "rope_parameters", None) or {}
    limit = rotations.get("original_max_position_embeddings", config.max_position_embeddings)
    if rotations.get("rope_type") in ("longrope", "dynamic") and longest > limit:
        raise ValueError(
            f"a model that reads texts of over {limit} tokens otherwise than shorter ones, got"
            f" up to {longest}; {lower}"
        )


class Slots(DynamicLayer):
    """The keys and values of one layer, in slots that are added ahead of their use."""

    def __init__(self, format_: str, reserved: int) -> None:
        super().__init__()
        self._round, self._reserved, self._used = FORMATS[format_], reserved, 0
        self._stored: list[torch.Tensor] = []

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store keys and values, float (rows, heads, tokens, size), and return all in use."""
        new = key_states, value_states
        start, self._used = self._used, self._used + key_states.shape[2]
        if not self._stored:
            self._stored = [states[:, :, :0] for states in new]
        room = self._stored[0].shape[2]
        if self._used > room:
            more = max(self._reserved, self._used + GROWTH) - room
            # Empty slots are zeros, and not whatever was there: nothing times nan is nan.
            self._stored = [torch.nn.functional.pad(one, (0, 0, 0, more)) for one in self._stored]
        for states, one in zip(new, self._stored, strict=True):
            one[:, :, start : self._used] = self._round(states)
        keys, values = (one[:, :, : self._used] for one in self._stored)
        return keys, values

    def get_seq_length(self) -> int:
        """Return the number of slots in use."""
        return self._used

    def gather(self, parts: Sequence["Slots"]) -> None:
        """Begin with the rows of others, each in the last slots, and leave these nothing."""
        self._used = max(part.get_seq_length() for part in parts)
        room = max(self._reserved, self._used + GROWTH)
        given = [part.hand_over(self._used, room) for part in parts]
        self._stored = [torch.cat(states) for states in zip(*given, strict=True)]

    def hand_over(self, used: int, room: int) -> list[torch.Tensor]:
        """Return the keys and the values in the last of so many slots, of so many, and forget."""
        gap = (0, 0, used - self._used, room - used)
        given = [one[:, :, : self._used] for one in self._stored]
        self._stored, self._used = [], 0
        return [torch.nn.functional.pad(one, gap) for one in given]

    def take(self, rows: torch.Tensor) -> None:
        """Go on with some rows, each of which may be taken several times."""
        self._stored = [one[rows] for one in self._stored]

    def pick(self, slots: torch.Tensor) -> None:
        """Keep some slots of each row, int64 (rows, slots), in this order."""
        for place, one in enumerate(self._stored):
            rows, heads, _, size = one.shape
            where = slots[:, None, :, None].expand(rows, heads, -1, size)
            self._stored[place] = one.gather(2, where)
        self._used = slots.shape[1]


class Rows:
    """Texts that a model reads side by side, each as far as it likes.

    The tokens of a row lie in slots, and a mask tells which slots of a row are its own. So rows
    can be of different lengths, and tokens that were read in vain are struck out again.

    Args:
        model: A causal language model that `check` takes; its attention is `folded` from now on.
        format_: Format of the keys and values, one of `FORMATS`.
        reserved: Slots to reserve at once, for a cache that does not grow; 0 for none.
    """

    def __init__(self, model: PreTrainedModel, format_: str, reserved: int) -> None:
        model.set_attn_implementation(ATTENTION)
        self.model = model
        self.format = format_
        layers = [Slots(format_, reserved) for _ in range(model.config.num_hidden_layers)]
        self.cache = Cache(layers=list(layers))
        self.layers = layers
        self.mask = torch.zeros(0, 0, dtype=torch.bool, device=model.device)
        self.lengths: list[int] = []

    def read(self, tokens: Sequence[Sequence[int]], keep: int) -> torch.Tensor:
        """Read on in each row, and return the logits after the last tokens read.

        Args:
            tokens: What each row reads next, maybe nothing.
            keep: For how many of its last tokens each row gets logits; a row that reads fewer
                has logits of no meaning in front.

        Returns:
            (rows, keep, vocabulary), in the model's type.
        """
        if not self.lengths:
            self.lengths = [0] * len(tokens)
            self.mask = self.mask.new_zeros(len(tokens), 0)
        self.lengths = [length + len(new) for length, new in zip(self.lengths, tokens, strict=True)]
        count = max(map(len, tokens))
        empty = [count - len(new) for new in tokens]
        ids = torch.tensor([[0] * gap + [*new] for gap, new in zip(empty, tokens, strict=True)])
        ends = torch.tensor(self.lengths)[:, None]
        positions = (ends - count + torch.arange(count)).clamp(min=0)
        own = torch.arange(count) >= torch.tensor(empty)[:, None]
        device = self.model.device
        self.mask = torch.cat([self.mask, own.to(device)], dim=1)
        return self.model(
            input_ids=ids.to(device),
            attention_mask=None if self.mask.all() else self.mask,
            position_ids=positions.to(device),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=keep,
        ).logits

    def gather(self, parts: Sequence["Rows"]) -> None:
        """Begin with what others have read, one's rows behind another's; nothing is left there."""
        for number, layer in enumerate(self.layers):
            layer.gather([part.layers[number] for part in parts])
        self.lengths = [length for part in parts for length in part.lengths]
        slots = max(part.mask.shape[1] for part in parts)
        self.mask = torch.cat(
            [torch.nn.functional.pad(part.mask, (slots - part.mask.shape[1], 0)) for part in parts]
        )

    def strike(self, counts: Sequence[int]) -> None:
        """Strike out the last tokens that each row has read: so many of them."""
        if not any(counts):
            return
        slots = self.mask.shape[1]
        last = torch.tensor([slots - count for count in counts], device=self.mask.device)
        # What a row read last lies in the last slots.
        self.mask &= torch.arange(slots, device=self.mask.device) < last[:, None]
        self.lengths = [length - count for length, count in zip(self.lengths, counts, strict=True)]

    def take(self, rows: Sequence[int]) -> None:
        """Go on with some rows in this order, each of which may be taken several times."""
        if [*rows] != [*range(len(self.lengths))]:
            chosen = torch.tensor([*rows], device=self.mask.device)
            self.mask = self.mask[chosen]
            self.lengths = [self.lengths[row] for row in rows]
            for layer in self.layers:
                layer.take(chosen)
        self._close_gaps()

    def _close_gaps(self) -> None:
        """Give up the slots that no row needs, once they are many."""
        longest = max(self.lengths)
        if self.mask.shape[1] <= longest * WASTE + GROWTH:
            return
        # Stable, so that the tokens of a row keep their order, behind its empty slots.
        slots = self.mask.byte().argsort(dim=1, stable=True)[:, -longest:]
        self.mask = self.mask.gather(1, slots)
        for layer in self.layers:
            layer.pick(slots)
