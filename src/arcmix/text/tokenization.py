"""Texts as tokens: what the model is trained on and what it is prompted with.

A prompt and its answer are tokenized apart, so that a prompt at inference is, token by token,
how the training text begins, whatever the tokenizer would merge across the seam.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from arcmix.tasks import COLORS
from arcmix.text import prompt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from arcmix.text.encode import Encoder

IGNORED = -100
"""The label of a token without loss, as torch's cross entropy has it."""


class Example(NamedTuple):
    """One text as tokens, prompt then answer."""

    input_ids: np.ndarray
    """The tokens, int32 (n,)."""
    trained: np.ndarray
    """Whether a token carries loss, bool (n,): the answer with its end token, and what else
    the style trains on."""

    @property
    def labels(self) -> np.ndarray:
        """The token itself where it carries loss, else `IGNORED`; int32 (n,)."""
        return np.where(self.trained, self.input_ids, np.int32(IGNORED))

    @property
    def trained_tokens(self) -> int:
        """How many tokens carry loss."""
        return int(self.trained.sum())


def style(
    tokenizer: PreTrainedTokenizerBase, format_: str, encoder: Encoder, loss: str
) -> prompt.Style:
    """Return how the tokenizer's model is shown a task.

    A chat answer ends as the chat template ends the assistant's turn, which need not be with
    the end of text: Phi-3 writes <|end|>.

    Args:
        tokenizer: The model's tokenizer.
        format_: The format of a prompt.
        encoder: The text of a grid.
        loss: What carries loss, one of `prompt.LOSSES`.

    Raises:
        ValueError: If the format is unknown, or the tokenizer has no chat template for it or
            no single token to end an answer with.
    """
    end = tokenizer.eos_token
    if format_ != "bare":
        if tokenizer.chat_template is None:
            raise ValueError(
                f"prompt format {format_!r} needs a chat template and the model's tokenizer has"
                " none; choose an instruction-tuned model or the format 'bare'"
            )
        end = _end_of_turn(tokenizer) or end
    if not isinstance(end, str) or len(_ids(tokenizer, [end])[0]) != 1:
        raise ValueError(f"an answer ends with one token of the tokenizer, got {end!r}")
    chat = functools.partial(_chat, tokenizer, for_answer=True)
    return prompt.Style(format_, encoder, chat, end, loss)


def _end_of_turn(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the first token that the chat template puts after the assistant's words."""
    words = "012"
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": words}]
    after = _chat(tokenizer, turns, for_answer=False).rpartition(words)[2]
    return "".join(tokenizer.tokenize(after.strip())[:1])


def _chat(
    tokenizer: PreTrainedTokenizerBase, turns: list[prompt.Message], *, for_answer: bool
) -> str:
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=for_answer)
    return str(text)


def tokenize(tokenizer: PreTrainedTokenizerBase, texts: Sequence[prompt.Text]) -> list[Example]:
    """Return the texts as tokens; a text without an answer is its prompt, without loss on it."""
    prompts = [text.prompt for text in texts]
    ids = _ids(tokenizer, prompts + [text.answer for text in texts])
    found = []
    for before, answer in zip(ids[: len(texts)], ids[len(texts) :], strict=True):
        trained = np.arange(len(before) + len(answer)) >= len(before)
        found.append(Example(np.array(before + answer, np.int32), trained))
    if any(text.trained for text in texts):
        _mark(tokenizer, texts, found)
    return found


def _mark(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[prompt.Text], found: Sequence[Example]
) -> None:
    """Mark the tokens that lie in the trained spans of the prompts."""
    prompts = [text.prompt for text in texts]
    places = tokenizer(prompts, add_special_tokens=False, return_offsets_mapping=True)
    for text, offsets, example in zip(texts, places["offset_mapping"], found, strict=True):
        starts, stops = np.array(offsets, np.int64).reshape(-1, 2).T
        for start, stop in text.trained:
            example.trained[: len(starts)] |= (start <= starts) & (stops <= stop)


def join(turns: Sequence[Example]) -> Example:
    """Return the turns of a conversation as one example."""
    return Example(*map(np.concatenate, zip(*turns, strict=True)))


def answer_budget(tokenizer: PreTrainedTokenizerBase, style: prompt.Style, side: int) -> int:
    """Return the tokens of the longest answer, its end token included.

    Exact where the tokenizer splits digits alike, as those of the models in use do; where it
    merges some digits and not others, the longest of eleven unlike grids.

    Args:
        tokenizer: The model's tokenizer.
        style: How the model is shown a task.
        side: Largest height and width of a grid.
    """
    plain = [np.full((side, side), color, np.uint8) for color in range(COLORS)]
    mixed = (np.arange(side * side) % COLORS).astype(np.uint8).reshape(side, side)
    texts = [prompt.render(style, [], grid, grid).answer for grid in [*plain, mixed]]
    return max(len(ids) for ids in _ids(tokenizer, texts))


def _ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    if not texts:
        return []  # which the tokenizer fails on
    # The prompt holds every special token it needs, so the tokenizer adds none.
    return tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
