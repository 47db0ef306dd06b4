"""The training samples that a budget takes, in tokens."""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from arcmix import augment, examples, fastpath, program, schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from arcmix import params, prompt

    Encode = Callable[[augment.Stretch], list[examples.Example]]
    """What makes the tokens of samples."""

log = logging.getLogger("arcmix.corpus")

CHUNK = 512
"""Samples brought into tokens at once: what the processor's cache holds."""

TRIED = 64
"""Samples on which the fast path is proven at the start."""


@dataclass(frozen=True)
class Corpus:
    """Samples in tokens, and where they come from."""

    examples: list[examples.Example]
    """The samples that are short enough, or made so."""
    entries: np.ndarray
    """Entry of the dataset that each was drawn from, int64 (n,)."""
    read: int
    """Samples of the file that were looked at."""


def load(
    path: Path, tokenizer: PreTrainedTokenizerBase, style: prompt.Style, settings: params.Finetune
) -> Corpus:
    """Return the first samples of a file that are short enough, as many as the budget takes.

    Fewer if the file has no more; they are then for use over and over.

    Args:
        path: What `augment.write` wrote.
        tokenizer: The model's tokenizer.
        style: How the model is shown a task.
        settings: The budget, the longest sample and what becomes of a longer one.
    """
    encode = encoder(tokenizer, style, next(augment.stretches(path, TRIED)))
    found: list[examples.Example] = []
    places: list[int] = []
    trained: list[int] = []
    read = enough = 0
    with program.progress(0, "tokenize", "sample") as bar:
        for stretch in augment.stretches(path, CHUNK):
            for place, example in fitting(encode, stretch, settings):
                found.append(example)
                places.append(read + place)
                trained.append(example.trained_tokens)
            read += len(stretch.grids)
            bar.update(len(found) - bar.n)
            enough = schedule.samples(settings, trained)
            if len(found) >= enough:
                break
    entries = pq.read_table(path, columns=["entry"])["entry"].to_numpy()
    return Corpus(found[:enough], entries[places[:enough]], read)


def fitting(
    encode: Encode, stretch: augment.Stretch, settings: params.Finetune
) -> Iterator[tuple[int, examples.Example]]:
    """Yield the samples that are short enough, or made so, each after its place in the stretch."""

    def lengths(some: augment.Stretch) -> list[int]:
        return [len(example.input_ids) for example in encode(some)]

    if settings.too_long == "shorten":
        stretch = augment.shorten(stretch, lengths, settings.max_tokens)
    for place, example in enumerate(encode(stretch)):
        if len(example.input_ids) <= settings.max_tokens:
            # A copy, since the tokens of the long ones need not stay.
            yield place, examples.Example(*map(np.copy, example))


def encoder(
    tokenizer: PreTrainedTokenizerBase, style: prompt.Style, tried: augment.Stretch
) -> Encode:
    """Return what makes the tokens of samples: the fast path, or their texts where it fails.

    Args:
        tokenizer: The model's tokenizer.
        style: How the model is shown a task.
        tried: Samples to prove the fast path on.
    """
    try:
        return fastpath.encoder(tokenizer, style, tried)
    except fastpath.MergedError as error:
        log.info("samples are tokenized as texts, since %s", error)
        return functools.partial(fastpath.as_texts, tokenizer, style)
