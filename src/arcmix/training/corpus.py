"""Training samples and validation prompts in tokens, as many as the budget and the limits take."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from arcmix import program
from arcmix.sampling import sample_table
from arcmix.text import fastpath, prompt, tokenization
from arcmix.training import schedule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from arcmix.config import scales
    from arcmix.tasks import Task
    from arcmix.text.fastpath import Tokenize

log = logging.getLogger("arcmix.finetune")

CHUNK = 512
"""Samples brought into tokens at once: what the processor's cache holds."""

TRIED = 64
"""Samples on which the fast path is proven at the start."""


@dataclass(frozen=True)
class Corpus:
    """Samples in tokens, and where they come from."""

    examples: list[tokenization.Example]
    """The samples that are short enough, or made so."""
    entries: np.ndarray
    """Entry of the dataset that each was drawn from, int64 (n,)."""
    read: int
    """Samples of the file that were looked at."""


def load(
    path: Path, tokenizer: PreTrainedTokenizerBase, style: prompt.Style, settings: scales.Finetune
) -> Corpus:
    """Return the first samples of a file that are short enough, as many as the budget takes.

    Fewer if the file has no more; they are then for use over and over.

    Args:
        path: What `augment.write` wrote.
        tokenizer: The model's tokenizer.
        style: How the model is shown a task.
        settings: The budget, the longest sample and what becomes of a longer one.
    """
    tokenize = fastpath.sample_tokenizer(
        tokenizer, style, next(sample_table.read_chunks(path, TRIED))
    )
    found: list[tokenization.Example] = []
    places: list[int] = []
    trained: list[int] = []
    read = enough = 0
    with program.progress(0, "tokenize", "sample") as bar:
        for chunk in sample_table.read_chunks(path, CHUNK):
            for place, example in fitting(tokenize, chunk, settings):
                found.append(example)
                places.append(read + place)
                trained.append(example.trained_tokens)
            read += len(chunk.grids)
            bar.update(len(found) - bar.n)
            enough = schedule.samples(settings, trained)
            if len(found) >= enough:
                break
    entries = pq.read_table(path, columns=["entry"])["entry"].to_numpy()
    log.info(
        "%d training samples of at most %d tokens among the first %d",
        len(found[:enough]),
        settings.max_tokens,
        read,
    )
    return Corpus(found[:enough], entries[places[:enough]], read)


@dataclass(frozen=True)
class ValidationPrompts:
    """The tests of the validation tasks with their answers in tokens, without the longest."""

    tests: list[tuple[str, int]]
    """The id of the task and the number of the test."""
    examples: list[tokenization.Example]
    """Prompt and answer of each test; only the answer carries loss."""

    @property
    def tokens(self) -> list[int]:
        """Number of answer tokens of each test."""
        return [one.trained_tokens for one in self.examples]


def validation_prompts(
    validation: Sequence[Task],
    tokenizer: PreTrainedTokenizerBase,
    style: prompt.Style,
    max_tokens: int,
) -> ValidationPrompts:
    """Return the tests whose prompt and answer have at most `max_tokens` tokens.

    Args:
        validation: The validation tasks.
        tokenizer: The model's tokenizer.
        style: The form of a training text. Validation measures the answer alone, even where
            training has loss on more.
        max_tokens: Longest prompt and answer.
    """
    measured = dataclasses.replace(style, loss="answer")
    tests = [(task, number) for task in validation for number in range(len(task.test))]
    texts = [
        prompt.render(measured, task.train, task.test[number].input, task.test[number].output)
        for task, number in tests
    ]
    pairs = zip(tests, tokenization.tokenize(tokenizer, texts), strict=True)
    kept = [
        (task.id, number, one) for (task, number), one in pairs if len(one.input_ids) <= max_tokens
    ]
    log.info("%d of %d validation prompts of at most %d tokens", len(kept), len(tests), max_tokens)
    return ValidationPrompts([(id_, number) for id_, number, _ in kept], [one for *_, one in kept])


def fitting(
    tokenize: Tokenize, chunk: sample_table.Chunk, settings: scales.Finetune
) -> Iterator[tuple[int, tokenization.Example]]:
    """Yield the samples that are short enough, or made so, each after its place in the chunk."""

    def lengths(some: sample_table.Chunk) -> list[int]:
        return [len(example.input_ids) for example in tokenize(some)]

    if settings.too_long == "shorten":
        chunk = sample_table.shorten(chunk, lengths, settings.max_tokens)
    for place, example in enumerate(tokenize(chunk)):
        if len(example.input_ids) <= settings.max_tokens:
            # A copy, since the tokens of the long ones need not stay.
            yield place, tokenization.Example(*map(np.copy, example))
