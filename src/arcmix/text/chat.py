"""The chat template of a model, applied so that a conversation has one text everywhere.

Templates differ in what they add or refuse:

- Some write today's date, so the texts of training and prediction would differ by the day. They are
  given a fixed date.
- Some open a block of thoughts before the answer, in which the answer would be trained. They are
  asked not to, and a block that is still open is closed.
- Some refuse a system message. It then goes to the start of the first user message.

No template gets a token twice that the tokenizer puts before each text (`start_of_text`).
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import jinja2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from arcmix.text.prompt import Message

TODAY = dt.datetime(2024, 7, 26, tzinfo=dt.UTC)
"""The date for templates: that of Llama 3.2's template where it has no clock."""

DATES = "".join(
    f"|replace('%{directive}','{TODAY.strftime(f'%{directive}')}')" for directive in "aAbBdHjmMSyY"
)
CLOCK = f"{{% macro strftime_now(format) %}}{{{{ format{DATES} }}}}{{% endmacro %}}\n"
"""The start of a template, which replaces the clock of transformers by a fixed date. The line break
is removed with the block, so the template still starts at the start of a line."""

THOUGHTS = "<think>", "</think>"
"""The start and the end of a block of thoughts."""


def render(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Message], *, for_answer: bool
) -> str:
    """Return the text of a conversation.

    Args:
        tokenizer: The tokenizer with the template.
        turns: The conversation.
        for_answer: Whether the text ends where an answer of the assistant starts.

    Raises:
        ValueError: If the template refuses the conversation.
    """
    try:
        text = _apply(tokenizer, turns, for_answer=for_answer)
    except jinja2.TemplateError as error:
        try:
            text = _apply(tokenizer, folded(turns), for_answer=for_answer)
        except jinja2.TemplateError:
            raise ValueError(
                f"the chat template refuses the turns {[turn['role'] for turn in turns]}: {error};"
                " choose another model or another prompt format, such as 'bare'"
            ) from error
    return _closed(text) if for_answer else text


def _apply(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Message], *, for_answer: bool
) -> str:
    return str(
        tokenizer.apply_chat_template(
            list(turns),
            chat_template=CLOCK + tokenizer.get_chat_template(),
            tokenize=False,
            add_generation_prompt=for_answer,
            enable_thinking=False,
        )
    )


def folded(turns: Sequence[Message]) -> list[Message]:
    """Return a conversation with the system message at the start of the first user message."""
    if [turn["role"] for turn in turns[:2]] != ["system", "user"]:
        return [*turns]
    system, user, *rest = turns
    content = f"{system['content'].rstrip()}\n\n{user['content']}"
    return [{"role": "user", "content": content}, *rest]


def _closed(text: str) -> str:
    """Return a text without an open block of thoughts at its end."""
    start, end = THOUGHTS
    return f"{text.rstrip()}\n\n{end}\n\n" if text.rstrip().endswith(start) else text


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the first token after the assistant's answer in the chat template; empty if none.

    Raises:
        ValueError: If the template drops the answer.
    """
    answer = "012"
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
    _, shown, after = render(tokenizer, turns, for_answer=False).rpartition(answer)
    if not shown:
        raise ValueError(
            "the chat template drops the assistant's answer, so the end of an answer is unknown;"
            " choose another model or the prompt format 'bare'"
        )
    return "".join(tokenizer.tokenize(after.strip())[:1])


def start_of_text(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the tokens that the tokenizer puts before each text by itself; empty if none.

    A model that was trained with such a token, as Gemma and Llama, is far worse without it.

    Raises:
        ValueError: If the tokenizer does not read these tokens from a text.
    """
    whole = tokenizer("0")["input_ids"]
    plain = tokenizer("0", add_special_tokens=False)["input_ids"]
    places = [n for n in range(len(whole)) if whole[n : n + len(plain)] == plain]
    if not plain or not places:
        raise ValueError(
            f"the tokenizer reads '0' as the tokens {plain}, but as {whole} where it adds tokens of"
            " its own, so the start of a text is unknown; choose another model"
        )
    before = places[0]
    start = "".join(tokenizer.convert_ids_to_tokens(whole[:before]))
    if start and tokenizer(start, add_special_tokens=False)["input_ids"] != whole[:before]:
        raise ValueError(
            f"the tokenizer puts {start!r} before each text, but does not read it from a text;"
            " choose another model"
        )
    return start
