"""The keys and values of texts that are read side by side, with formats of fewer bits.

A row of the cache holds the keys and values of one text, and slot n those of its token n. So rows
may differ in length, no slot is ever between the tokens of a row, and rejected tokens are discarded
by counting fewer. What a pass stores behind a text is overwritten before a token attends to it.

An accelerator runs a pass in fixed shapes: the rows, the tokens and the slots of a pass are rounded
up (`STEPS`), because kernels are chosen anew for each new shape. A CPU runs a pass as it is.

A format rounds keys and values to the precision of a quantized cache, but stores them in the
model's dtype. The answers are those of a quantized cache, but no memory is saved. Keys and values
are rounded before the pass that computes them attends to them, so an answer does not depend on the
number of its tokens that one pass reads.
"""

import functools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface, AttentionMaskInterface, Cache, PreTrainedModel
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

GROWTH = 64
"""Slots to add at least when a cache is full."""

KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""Kernels of attention: all but cuDNN's, which takes up to a second for each new shape."""


SHARE = 1 / 4
"""Part of an accelerator's free memory for keys and values. A cache that grows is copied, and
logits take memory as well."""

CPU_TOKENS = 16384
"""Tokens that are answered at once where the limit is `auto` and memory is not known."""


Work = Callable[[torch.Tensor], torch.Tensor]
"""A pass: the logits as a function of the input (`Rows`)."""


@dataclass(frozen=True)
class Steps:
    """Steps of the shapes of a pass.

    A size is rounded up to a power of two if it is at most a step, else to a multiple of the step.
    A step of 1 rounds nothing.
    """

    rows: int
    """Step of the rows, a power of two."""
    tokens: int
    """Step of the new tokens of a row, a power of two."""
    slots: int
    """Step of the slots that are attended to, a power of two."""


STEPS = {"cpu": Steps(1, 1, 1), "other": Steps(16, 64, 256)}
"""Steps by type of device. 64 rows of up to 4096 slots have some hundred shapes."""

ATTENTION = "folded"
"""Name under which transformers knows the attention of this module."""

KINDS = ("full_attention", "sliding_attention")
"""Kinds of layers whose keys and values are cached."""


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


def steps(device: torch.device) -> Steps:
    """Return the steps of a type of device."""
    return STEPS.get(device.type, STEPS["other"])


def rounded(size: int, step: int) -> int:
    """Return a size, at least 1, rounded up as `Steps` says."""
    if size > step:
        return -(-size // step) * step
    return 1 << (size - 1).bit_length()


@dataclass
class _Pass:
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
        self.current = _Pass(torch.zeros(0, 0, dtype=torch.int64), 0, 0)
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


def plain(work: Work, given: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Return a function that does some work anew on its input, which is overwritten in between."""
    return lambda: work(given)


def cuda_graph(work: Work, given: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Return a function that does the same as that of `plain`, by a CUDA graph.

    The result is overwritten by the next pass.
    """
    graph = torch.cuda.CUDAGraph()
    # Its stub has another type for the id of a pool.
    with torch.cuda.graph(graph, pool=cast("Any", _pool().id)):
        output = work(given)

    def replay() -> torch.Tensor:
        graph.replay()
        return output

    return replay


@functools.cache
def _pool() -> torch.cuda.MemPool:
    """Return the memory that all graphs share, since no two of them run at the same time.

    It outlives the graphs: a pool whose last graph is gone cannot be used again.
    """
    return torch.cuda.MemPool()


class _Recorded:
    """Passes that are recorded once for each shape, with inputs and caches at fixed addresses."""

    def __init__(self, record: Callable[[Work, torch.Tensor], Callable[[], torch.Tensor]]) -> None:
        self._record = record
        self._passes: dict[Hashable, tuple[torch.Tensor, Callable[[], torch.Tensor]]] = {}
        self._caches: tuple[int, ...] = ()

    def run(
        self, work: Work, given: torch.Tensor, view: int, caches: tuple[int, ...]
    ) -> torch.Tensor:
        """Return the result of a pass.

        Args:
            work: Does the pass.
            given: Its input.
            view: Number of slots that are attended to, which is fixed in a recording.
            caches: The addresses of the keys; recordings with other addresses are dropped.
        """
        if caches != self._caches:
            self._passes, self._caches = {}, caches
        key = (*given.shape, view)
        if key not in self._passes:
            fixed = given.clone()
            # Kernels and their workspaces are loaded before they are recorded.
            work(fixed)
            self._passes[key] = fixed, self._record(work, fixed)
        fixed, replay = self._passes[key]
        fixed.copy_(given)
        return replay()


class Rows:
    """A batch of texts that a model reads side by side, each to its own length.

    Args:
        model: A causal language model that passes `check`; sdpa becomes `folded`.
        format_: Format of the keys and values, one of `FORMATS`.
        reserved: Number of slots to allocate at least; 0 for a cache that grows. On a CUDA device,
            passes over a reserved cache are recorded as CUDA graphs.
        steps_: How shapes are rounded; None for the steps of the model's device.
        record: What records a pass, `plain` in tests; None for the way of the model's device.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        format_: str,
        reserved: int,
        steps_: Steps | None = None,
        record: Callable[[Work, torch.Tensor], Callable[[], torch.Tensor]] | None = None,
    ) -> None:
        # Models without sdpa cap their scores, or have more keys than there are tokens.
        if model.config._attn_implementation == "sdpa":  # noqa: SLF001 - nothing else tells it
            model.set_attn_implementation(ATTENTION)
        self.model = model
        self.format = format_
        self.steps = steps_ or steps(model.device)
        self.config = model.config.get_text_config()
        self.layers = [
            Slots(format_, reserved, self.steps.slots) for _ in range(self.config.num_hidden_layers)
        ]
        self.cache = Cache(layers=list(self.layers))
        self.lengths: list[int] = []
        if record is None and reserved and model.device.type == "cuda":
            record = cuda_graph
        self._recorded = _Recorded(record) if record else None

    def empty(self) -> "Rows":
        """Return empty rows of the same kind."""
        return Rows(self.model, self.format, 0, self.steps)

    def read(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> torch.Tensor:
        """Append tokens to each row, and return the logits after them.

        Args:
            tokens: The next tokens of each row; may be empty.
            last: Whether to return only the logits after the last token of each row.

        Returns:
            Logits (rows, tokens, vocabulary) in the model's dtype. The logits after token n of a
            row are at place n, or at place 0 with `last`. The places behind have no meaning.
        """
        starts = self.lengths or [0] * len(tokens)
        self.lengths = [start + len(new) for start, new in zip(starts, tokens, strict=True)]
        rows = rounded(len(tokens), self.steps.rows)
        count = rounded(max(map(len, tokens)), self.steps.tokens)
        # One tensor takes one transfer.
        lists = [
            [start, start + len(new), *new, *[0] * (count - len(new))]
            for start, new in zip(starts, tokens, strict=True)
        ]
        lists += [[0] * (count + 2)] * (rows - len(tokens))
        given = torch.tensor(lists).to(self.model.device)
        past = max(starts)
        view = rounded(max(self.lengths), self.steps.slots) if past else count
        for layer in self.layers:
            layer.fit(rows, max(past + count, view))
        if self._recorded and past and not last:
            caches = tuple(layer.address for layer in self.layers)
            work = functools.partial(self._forward, view=view)
            return self._recorded.run(work, given, view, caches)[: len(tokens)]
        # transformers makes the mask of rows of one length itself, or needs none.
        even = min(starts) == past and view == past + count
        if not last:
            return self._forward(given, view, past if even else None)[: len(tokens)]
        keep, chosen = _last(tokens)
        logits = self._forward(given, view, past if even else None, keep.to(given.device))
        return logits[range(len(tokens)), chosen][:, None]

    def _forward(
        self,
        given: torch.Tensor,
        view: int,
        past: int | None = None,
        keep: torch.Tensor | int = 0,
    ) -> torch.Tensor:
        """Return the logits of a pass.

        Args:
            given: The length of each row before and after the pass, and its new tokens, int64
                (rows, 2 + tokens).
            view: Number of slots that are attended to.
            past: Number of tokens of each row before the pass; None if they differ.
            keep: The places whose logits are returned, int64 (n,); 0 for all.
        """
        start, end, ids = given[:, :1], given[:, 1:2], given[:, 2:]
        slots = start + torch.arange(ids.shape[1], device=given.device)
        for layer in self.layers:
            layer.current = _Pass(slots, view, past or 0)
        with sdpa_kernel(KERNELS):
            return self.model(
                input_ids=ids,
                attention_mask=self._attention_mask(slots, view) if past is None else None,
                position_ids=torch.minimum(slots, end - 1).clamp(min=0),
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=keep,
            ).logits

    def _attention_mask(
        self, slots: torch.Tensor, view: int
    ) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the mask of new tokens, in one of the forms that transformers takes.

        Args:
            slots: The slot of each new token, int64 (rows, tokens).
            view: Number of slots that are attended to.
        """
        place = torch.arange(view, device=slots.device)
        seen = place <= slots[..., None]
        window = getattr(self.config, "sliding_window", None)
        if window is None:
            return self._as_scores(seen)
        near = self._as_scores(seen & (place > slots[..., None] - window))
        kinds = getattr(self.config, "layer_types", None)
        if not kinds:
            return near
        return {"full_attention": self._as_scores(seen), "sliding_attention": near}

    def _as_scores(self, seen: torch.Tensor) -> torch.Tensor:
        """Return a mask, bool (rows, tokens, slots), as the attention of the model takes it."""
        if self.model.config._attn_implementation == ATTENTION:  # noqa: SLF001 - as above
            return seen[:, None]
        scores = torch.zeros(seen.shape, dtype=self.model.dtype, device=seen.device)
        return scores.masked_fill(~seen, torch.finfo(scores.dtype).min)[:, None]

    def extend(self, parts: Sequence["Rows"]) -> None:
        """Take over the rows of other batches behind the own ones, and empty these."""
        lengths = [part.lengths for part in parts]
        for number, layer in enumerate(self.layers):
            layer.extend([part.layers[number] for part in parts], lengths, len(self.lengths))
        self.lengths = [*self.lengths, *(length for own in lengths for length in own)]

    def discard(self, counts: Sequence[int]) -> None:
        """Discard the last `counts[row]` tokens of each row."""
        self.lengths = [length - count for length, count in zip(self.lengths, counts, strict=True)]

    def select(self, rows: Sequence[int]) -> None:
        """Keep some rows in this order; a row may occur several times.

        Only the rows that change their place are copied.
        """
        self.lengths = [self.lengths[row] for row in rows]
        moved = [(to, row) for to, row in enumerate(rows) if to != row]
        if moved:
            to, chosen = torch.tensor(moved).to(self.model.device).T
            slots = max(self.lengths[to] for to, _ in moved)
            for layer in self.layers:
                layer.move(to, chosen, len(rows), slots)


def _last(tokens: Sequence[Sequence[int]]) -> tuple[torch.Tensor, list[int]]:
    """Return the places of the last tokens of rows, and the number of the place of each row."""
    ends = [max(len(new) - 1, 0) for new in tokens]
    places = sorted({*ends})
    return torch.tensor(places), [places.index(end) for end in ends]
