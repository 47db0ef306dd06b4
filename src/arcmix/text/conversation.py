"""Questions about a grid, asked and answered as a chat (learn-to-count, arc24 iteration 2)."""

from collections.abc import Sequence

import numpy as np

from arcmix import objects
from arcmix.text.prompt import V1_SYSTEM, Message, Style, Text


def converse(style: Style, grid: np.ndarray, kinds: Sequence[int]) -> list[Text]:
    """Return a conversation about a grid, a text a turn: what comes before an answer, and it.

    Args:
        style: How the model is shown a grid; the format tells only whether it is a chat.
        grid: The grid, uint8 (height, width).
        kinds: The questions by their numbers in `count.QUESTIONS`, in their order.

    Raises:
        ValueError: If the chat template writes a turn otherwise once others have followed.
    """
    answers = objects.answers(grid)
    shown = f"{style.encoder.encode(grid)}\n"
    turns, told, texts = [{"role": "system", "content": V1_SYSTEM}], "", []
    for kind in kinds:
        turns.append({"role": "user", "content": shown + objects.QUESTIONS[kind]})
        whole = _plain(turns, style.end) if style.format == "bare" else style.chat(turns)
        if not whole.startswith(told):
            raise ValueError(
                "the chat template writes earlier turns anew once others follow:"
                f" {told[-40:]!r} became {whole[: len(told)][-40:]!r};"
                " for questions about grids choose another model or the format 'bare'"
            )
        texts.append(Text(whole.removeprefix(told), f"{answers[kind]}{style.end}", ()))
        told = f"{whole}{texts[-1].answer}"
        turns.append({"role": "assistant", "content": answers[kind]})
        shown = ""
    return texts


def _plain(turns: Sequence[Message], end: str) -> str:
    """Return a conversation as text for a model without a chat template."""
    text = ""
    for turn in turns[1:]:
        words = turn["content"]
        text += f"Question\n{words}\nAnswer\n" if turn["role"] == "user" else f"{words}{end}\n"
    return text
