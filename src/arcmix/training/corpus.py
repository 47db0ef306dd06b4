"""Training samples and validation prompts as token ids, within the budget and the limits."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from arcmix import program
from arcmix.models import loss
from arcmix.sampling import sample_table
from arcmix.text import fastpath, prompt, tokenization
from arcmix.training import schedule

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from arcmix.config import scales
    from arcmix.tasks import Task
    from arcmix.text.fastpath import Tokenize

log = logging.getLogger("arcmix.corpus")

CHUNK = 512
"""Samples tokenized at once; they fit into the processor's cache."""

VERIFIED = 64
"""Samples on which the fast tokenizer is verified at the start."""


@dataclass(frozen=True)
class Corpus:
    """Training samples as token ids, with their entries."""

    examples: list[tokenization.Example]
    """The samples of at most `max_tokens` tokens, some of them shortened."""
    entries: np.ndarray
    """Entry of the dataset that each sample was drawn from, int64 (n,)."""
    read: int
    """Number of samples read from the file."""


def load(
    path: Path, tokenizer: PreTrainedTokenizerBase, style: prompt.Style, settings: scales.Finetune
) -> Corpus:
    """Return the first samples of a file that are short enough, up to the budget.

    If the file has fewer, all of them are returned; training then repeats them.

    Args:
        path: The table of samples (`sample_table.write`).
        tokenizer: The model's tokenizer.
        style: The text format of a task.
        settings: The budget, the maximum length, and whether longer samples are shortened.
    """
    tokenize = fastpath.sample_tokenizer(
        tokenizer, style, next(sample_table.read_chunks(path, VERIFIED))
    )
    examples: list[tokenization.Example] = []
    indices: list[int] = []
    trained: list[int] = []
    read = wanted = 0
    with program.progress(0, "tokenize", "sample") as bar:
        for chunk in sample_table.read_chunks(path, CHUNK):
            for index, example in fitting(tokenize, chunk, settings):
                examples.append(example)
                indices.append(read + index)
                trained.append(example.trained_tokens)
            read += len(chunk.grids)
            bar.update(len(examples) - bar.n)
            wanted = schedule.samples(settings, trained)
            if len(examples) >= wanted:
                break
    entries = sample_table.read_entries(path)
    if settings.budget:
        log.info(
            "%d training samples of at most %d tokens among the first %d",
            len(examples[:wanted]),
            settings.max_tokens,
            read,
        )
    else:
        log.info("no training samples, because the budget is 0")
    return Corpus(examples[:wanted], entries[indices[:wanted]], read)


@dataclass(frozen=True)
class ValidationPrompts:
    """Tests of the validation tasks with their answers as token ids, without those too long."""

    tests: list[tuple[str, int]]
    """Task id and test index of each prompt."""
    examples: list[tokenization.Example]
    """Prompt with answer of each test; only the answer carries loss."""

    @property
    def tokens(self) -> list[int]:
        """Number of answer tokens of each test."""
        return [one.trained_tokens for one in self.examples]

    def losses(
        self,
        model: PreTrainedModel | PeftModel,
        tests: Collection[tuple[str, int]],
        settings: scales.Finetune,
    ) -> dict[tuple[str, int], float]:
        """Return test -> the summed loss of a model on its answer, in nats.

        Tests without a prompt here are left out.

        Args:
            model: A causal language model.
            tests: Task id and test index of each test to measure.
            settings: The maximum number of tokens of a forward pass.
        """
        chosen = [number for number, test in enumerate(self.tests) if test in tests]
        # One prompt has its own row anyway. Each task may have an adapter of its own.
        how = loss.fitted(settings, model) if len(chosen) > 1 else settings
        found = loss.prompt_losses(
            model, [self.examples[number] for number in chosen], how.eval_tokens, lambda _: None
        )
        return {self.tests[number]: float(one) for number, one in zip(chosen, found, strict=True)}


def validation_prompts(
    validation: Sequence[Task],
    tokenizer: PreTrainedTokenizerBase,
    style: prompt.Style,
    max_tokens: int,
) -> ValidationPrompts:
    """Return the tests whose prompt with answer has at most `max_tokens` tokens.

    Hidden tests have no loss, so they are left out.

    Args:
        validation: The validation tasks.
        tokenizer: The model's tokenizer.
        style: The text format of a training sample. Validation measures the loss of the answer
            only, even if more of a training sample carries loss.
        max_tokens: Maximum length of a prompt with its answer.
    """
    answer_style = dataclasses.replace(style, loss="answer")
    tests = [
        (task, number)
        for task in validation
        for number, pair in enumerate(task.test)
        if not pair.is_hidden
    ]
    texts = [
        prompt.render(answer_style, task.train, task.test[number].input, task.test[number].output)
        for task, number in tests
    ]
    tokenized = zip(tests, tokenization.tokenize(tokenizer, texts), strict=True)
    kept = [
        (task.id, number, one)
        for (task, number), one in tokenized
        if len(one.input_ids) <= max_tokens
    ]
    if tests:
        log.info(
            "%d of %d validation prompts of at most %d tokens", len(kept), len(tests), max_tokens
        )
    return ValidationPrompts([(id_, number) for id_, number, _ in kept], [one for *_, one in kept])


def fitting(
    tokenize: Tokenize, chunk: sample_table.Chunk, settings: scales.Finetune
) -> Iterator[tuple[int, tokenization.Example]]:
    """Yield the samples that fit, each with its index in the chunk.

    Args:
        tokenize: Returns the examples of a chunk.
        chunk: The samples.
        settings: The maximum length, and whether longer samples are shortened.
    """

    def lengths(samples: sample_table.Chunk) -> list[int]:
        return [len(example.input_ids) for example in tokenize(samples)]

    if settings.too_long == "shorten":
        chunk = sample_table.shorten(chunk, lengths, settings.max_tokens)
    for index, example in enumerate(tokenize(chunk)):
        if len(example.input_ids) <= settings.max_tokens:
            # A copy, so that the memory of the whole chunk can be freed.
            yield index, tokenization.Example(*map(np.copy, example))
