"""Texts that a model reads side by side, each to its own length, over a cache (`kv_cache`).

A row of the cache holds the keys and values of one text, and slot n those of its token n. So rows
may differ in length, no slot is ever between the tokens of a row, and rejected tokens are discarded
by counting fewer. What a pass stores behind a text is overwritten before a token attends to it.
"""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface, AttentionMaskInterface, Cache, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from arcmix.prediction import recording
from arcmix.prediction.kv_cache import Pass, Slots
from arcmix.prediction.recording import Record, Recorded
from arcmix.prediction.shapes import Shapes, rounded, shapes_of

KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""Kernels of attention: all but cuDNN's, which takes up to a second for each new shape."""


ATTENTION = "folded"
"""Name under which transformers knows the attention of this module."""


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

    The arguments and the result are those of `attention.bounded`, except for the mask and the keys.

    Args:
        module: The layer.
        query: Float (rows, heads, tokens, size).
        key: Float (rows, key heads, slots, size).
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


class Rows:
    """A batch of texts that a model reads side by side, each to its own length.

    Args:
        model: A causal language model that passes `kv_cache.check`; sdpa becomes `folded`.
        format_: Format of the keys and values, one of `kv_cache.FORMATS`.
        reserved: Number of slots to allocate at least; 0 for a cache that grows. On a CUDA device,
            passes over a reserved cache are recorded as CUDA graphs.
        shapes: The shapes of passes; None for those of the model's device.
        record: What records a pass, `plain` in tests; None for the way of the model's device.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        format_: str,
        reserved: int,
        shapes: Shapes | None = None,
        record: Record | None = None,
    ) -> None:
        # Models without sdpa cap their scores, or have more keys than there are tokens.
        if model.config._attn_implementation == "sdpa":  # noqa: SLF001 - nothing else tells it
            model.set_attn_implementation(ATTENTION)
        self.model = model
        self.format = format_
        self.shapes = shapes or shapes_of(model.device)
        self.config = model.config.get_text_config()
        self.layers = [
            Slots(format_, reserved, self.shapes.slots)
            for _ in range(self.config.num_hidden_layers)
        ]
        self.cache = Cache(layers=list(self.layers))
        self.lengths: list[int] = []
        if record is None and reserved and model.device.type == "cuda":
            record = recording.cuda_graph
        self._recorded = Recorded(record) if record else None

    def empty(self) -> "Rows":
        """Return empty rows of the same kind."""
        return Rows(self.model, self.format, 0, self.shapes)

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
        rows = rounded(len(tokens), self.shapes.rows)
        count = rounded(max(map(len, tokens)), self.shapes.tokens)
        # One tensor takes one transfer.
        lists = [
            [start, start + len(new), *new, *[0] * (count - len(new))]
            for start, new in zip(starts, tokens, strict=True)
        ]
        lists += [[0] * (count + 2)] * (rows - len(tokens))
        given = torch.tensor(lists).to(self.model.device)
        past = max(starts)
        view = rounded(max(self.lengths), self.shapes.slots) if past else count
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
            layer.current = Pass(slots, view, past or 0)
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
