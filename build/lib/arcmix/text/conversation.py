"""Questions about a grid and their answers as a chat (learn-to-count, arc24 iteration 2)."""

from collections.abc import Sequence

import numpy as np

from arcmix import objects
from arcmix.text.prompt import V1_SYSTEM, Message, Style, Text


def converse(style: Style, grid: np.ndarray, kinds: Sequence[int]) -> list[Text]:
    """Return a conversation about a grid, one text per question and answer.

    The prompt of a text contains everything between the previous answer and its own answer.

    Args:
        style: The style of the texts. Of its format, only `bare` or not matters.
        grid: The grid, uint8 (height, width).
        kinds: The questions in order, by their numbers in `objects.QUESTIONS`.

    Raises:
        ValueError: If the chat template changes the text of earlier turns when a turn is added.
    """
    answers = objects.answers(grid)
    shown = f"{style.encoder.encode(grid)}\n"
    turns, previous, texts = [{"role": "system", "content": V1_SYSTEM}], "", []
    for kind in kinds:
        turns.append({"role": "user", "content": shown + objects.QUESTIONS[kind]})
        text = _plain(turns, style.end) if style.format == "bare" else style.chat(turns)
        whole = style.begun(text)
        if not whole.startswith(previous):
            raise ValueError(
                "the chat template changes the text of earlier turns when a turn is added:"
                f" {previous[-40:]!r} became {whole[: len(previous)][-40:]!r}; for questions about"
                " grids, choose another model or the prompt format 'bare'"
            )
        texts.append(Text(whole.removeprefix(previous), f"{answers[kind]}{style.end}", ()))
        previous = f"{whole}{texts[-1].answer}"
        turns.append({"role": "assistant", "content": answers[kind]})
        # Only the first question shows the grid.
        shown = ""
    return texts


def _plain(turns: Sequence[Message], end: str) -> str:
    """Return a conversation as text for a model without a chat template."""
    text = ""
    for turn in turns[1:]:
        content = turn["content"]
        text += f"Question\n{content}\nAnswer\n" if turn["role"] == "user" else f"{content}{end}\n"
    return text
