"""Rows of models whose layers have a state, such as linear attention: each text is read anew.

A state cannot be taken back when tokens of a draft are discarded, and padding would change it. So
nothing is cached. Each new token takes the time of its whole text, which is slow without drafts.
"""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from arcmix.prediction import kv_cache
from arcmix.prediction.rows import Rows
from arcmix.prediction.shapes import Shapes, shapes_of


def rows(model: PreTrainedModel, format_: str, reserved: int, shapes: Shapes | None = None) -> Rows:
    """Return empty rows for a model, which read each text anew if its layers have a state.

    Args:
        model: A causal language model that passes `kv_cache.check`.
        format_: Format of the keys and values, one of `kv_cache.FORMATS`.
        reserved: Number of slots to allocate at first; 0 for a cache that grows.
        shapes: The shapes of passes; None for those of the model's device.

    Raises:
        ValueError: If a format is given for a model without a cache.
    """
    if not (other := kv_cache.other_kinds(model)):
        return Rows(model, format_, reserved, shapes)
    if format_ != "none":
        raise ValueError(
            f"predict.kv_format {format_} rounds keys and values, but the model has layers of"
            f" {other}, and nothing of it is cached; set predict.kv_format to none"
        )
    return Rereading(model, shapes)


class Rereading(Rows):
    """Rows without a cache.

    Args:
        model: A causal language model.
        shapes: As in `Rows`; only `at_once` matters.
    """

    def __init__(self, model: PreTrainedModel, shapes: Shapes | None = None) -> None:
        self.model, self.format = model, "none"
        self.shapes = shapes or shapes_of(model.device)
        self.texts: list[list[int]] = []

    def empty(self) -> Rows:
        """Return empty rows of the same kind."""
        return Rereading(self.model, self.shapes)

    def read(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> torch.Tensor:
        """Append tokens to each row, and return the logits after them (`Rows.read`)."""
        old = self.texts or [[] for _ in tokens]
        self.texts = [[*text, *new] for text, new in zip(old, tokens, strict=True)]
        keep = 1 if last else max(map(len, tokens))
        # Texts of one length need no padding.
        lengths: dict[int, list[int]] = {}
        for number, text in enumerate(self.texts):
            lengths.setdefault(len(text), []).append(number)
        found: dict[int, torch.Tensor] = {}
        for own in lengths.values():
            ids = torch.tensor([self.texts[number] for number in own], device=self.model.device)
            logits = self.model(input_ids=ids, use_cache=False, logits_to_keep=keep).logits
            for number, after in zip(own, logits, strict=True):
                new = after if last else after[len(after) - len(tokens[number]) :]
                found[number] = torch.nn.functional.pad(new, (0, 0, 0, keep - len(new)))
        return torch.stack([found[number] for number in range(len(tokens))])

    def extend(self, parts: Sequence[Rows]) -> None:
        """Take over the rows of other batches behind the own ones."""
        self.texts += [text for part in parts if isinstance(part, Rereading) for text in part.texts]

    def discard(self, counts: Sequence[int]) -> None:
        """Discard the last `counts[row]` tokens of each row."""
        pairs = zip(self.texts, counts, strict=True)
        self.texts = [text[: len(text) - count] for text, count in pairs]

    def select(self, rows: Sequence[int]) -> None:
        """Keep some rows in this order; a row may occur several times."""
        self.texts = [self.texts[row] for row in rows]
