"""Texts as tokens, for training and for inference.

A prompt and its answer are tokenized separately. So a prompt has the same tokens in training and at
inference, even if the tokenizer would merge the end of the prompt with the start of the answer.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from arcmix.tasks import COLORS, Pair
from arcmix.text import chat, prompt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from arcmix.text.encode import Encoder

DIGITS = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 6], np.uint8)
PROBES = [np.resize(DIGITS[start:], (2 + start, 3)) for start in range(5)]
"""Grids of a task that probes a style: no prompt has one of them by itself."""

IGNORED = -100
"""The label of a token without loss: the `ignore_index` of torch's cross entropy."""


class Example(NamedTuple):
    """A text as tokens: the prompt followed by the answer."""

    input_ids: np.ndarray
    """The tokens, int32 (n,)."""
    trained: np.ndarray
    """Whether a token has loss, bool (n,). The answer with its end token has loss, and so do the
    trained spans of the prompt."""

    @property
    def labels(self) -> np.ndarray:
        """The token if it has loss, otherwise `IGNORED`; int32 (n,)."""
        return np.where(self.trained, self.input_ids, np.int32(IGNORED))

    @property
    def trained_tokens(self) -> int:
        """Number of tokens with loss."""
        return int(self.trained.sum())


def style(
    tokenizer: PreTrainedTokenizerBase, format_: str, encoder: Encoder, loss: str
) -> prompt.Style:
    """Return the style of the texts for the model of a tokenizer.

    In a chat format, an answer ends with the token with which the chat template ends the
    assistant's turn. It can differ from the end-of-text token: Phi-3 uses <|end|>.

    Args:
        tokenizer: The model's tokenizer.
        format_: One of `prompt.FORMATS`.
        encoder: The encoder of the grids.
        loss: One of `prompt.LOSSES`.

    Raises:
        ValueError: If the format or the loss is unknown, a chat format is requested but the
            tokenizer has no chat template, or the end of an answer is not a single token. If the
            chat template refuses, drops or changes grids, or their tokens do not give them back.
    """
    end = tokenizer.eos_token
    if format_ != "bare":
        if tokenizer.chat_template is None:
            raise ValueError(
                f"prompt format {format_!r} needs a chat template, but the model's tokenizer has"
                " none; choose an instruction-tuned model or the format 'bare'"
            )
        end = chat.end_of_turn(tokenizer) or end
    if not isinstance(end, str) or len(_ids(tokenizer, [end])[0]) != 1:
        raise ValueError(
            f"the end of an answer is not a single token of the tokenizer, got {end!r}; choose"
            " another model or prompt format"
        )
    apply = functools.partial(chat.render, tokenizer, for_answer=True)
    start = chat.start_of_text(tokenizer)
    found = prompt.Style(format_, encoder, apply, end, loss, start)
    _check_answers(tokenizer, found)
    _check_prompt(tokenizer, found)
    return found


def _check_prompt(tokenizer: PreTrainedTokenizerBase, style: prompt.Style) -> None:
    """Refuse a style whose prompt lacks a grid of the task, or has it twice or out of order."""
    *shown, asked = PROBES
    text = prompt.render(style, [Pair(*shown[:2]), Pair(*shown[2:])], asked, None)
    grids = [style.encoder.encode(grid) for grid in PROBES]
    places = [text.prompt.find(grid) for grid in grids]
    if min(places) < 0 or places != sorted(places) or any(text.prompt.count(g) > 1 for g in grids):
        raise ValueError(
            f"the chat template drops, changes, repeats or reorders grids in the format"
            f" {style.format!r}, so the model would not see the task: the grids"
            f" {grids} are at {places} in {text.prompt[-300:]!r}; choose another model or the"
            " prompt format 'bare'"
        )
    spans = [text.prompt[start:stop] for start, stop in text.trained]
    if style.loss == "outputs" and spans != [grids[3]]:
        raise ValueError(
            f"the chat template drops the marks of trained outputs: they are {spans} instead of"
            f" {[grids[3]]}; choose another model, the prompt format 'bare', or the loss 'answer'"
        )
    [example] = tokenize(tokenizer, [prompt.Text(text.prompt, "", ())])
    back = decode(tokenizer, example.input_ids.tolist())
    if lost := [grid for grid in grids if grid not in back]:
        raise ValueError(
            f"the tokenizer loses grids of a prompt in the format {style.format!r}: {lost} became"
            f" {back[-300:]!r}; choose another model or encoder"
        )


def _check_answers(tokenizer: PreTrainedTokenizerBase, style: prompt.Style) -> None:
    """Refuse a style if the tokens of a grid's answer do not give the grid back."""
    plain = [np.full((2, 3), color, np.uint8) for color in range(COLORS)]
    for grid in [*plain, *(np.resize(DIGITS, shape) for shape in ((1, 6), (6, 1), (11, 12)))]:
        [example] = tokenize(tokenizer, [prompt.Text("", prompt.answer(style, grid), ())])
        text = decode(tokenizer, example.input_ids[:-1].tolist())
        found = prompt.parse_answer(style, text + style.end)
        if found is None or not np.array_equal(found, grid):
            raise ValueError(
                f"the tokenizer loses grids of the encoder {'/'.join(style.encoder.names)}:"
                f" {style.opening + style.encoder.encode(grid)!r} became {text!r}; choose another"
                " model or encoder"
            )


def decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """Return the text of tokens."""
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def tokenize(tokenizer: PreTrainedTokenizerBase, texts: Sequence[prompt.Text]) -> list[Example]:
    """Return texts as tokens. For a text with an empty answer, these are the prompt's tokens."""
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
    """Set `trained` for the tokens inside the trained spans of the prompts, in place."""
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
    """Return the number of tokens of the longest answer, with its end token.

    The number is exact if the tokenizer splits all digits in the same way, as the tokenizers of the
    supported models do. If it merges only some digits, the number is that of the longest of
    eleven different grids.

    Args:
        tokenizer: The model's tokenizer.
        style: The style of the texts.
        side: Maximum height and width of a grid.
    """
    plain = [np.full((side, side), color, np.uint8) for color in range(COLORS)]
    mixed = np.resize(np.array(range(COLORS), np.uint8), (side, side))
    texts = [prompt.render(style, [], grid, grid).answer for grid in [*plain, mixed]]
    return max(len(ids) for ids in _ids(tokenizer, texts))


def _ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    if not texts:
        return []  # the tokenizer raises an error for an empty list
    # The texts already contain all special tokens.
    return tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
