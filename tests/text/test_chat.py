import datetime as dt

import numpy as np
import pytest
from tokenizers import processors

from arcmix.tasks import Pair
from arcmix.text import chat, conversation, prompt, tokenization
from arcmix.text.encode import Encoder
from tests.chats import CHATS

GRID = np.array([[1, 0, 1], [1, 1, 2]], np.uint8)
CHATTING = [name for name, one in CHATS.items() if one.template]
THINKING = {"smollm3", "qwen3", "qwen3-thinking", "qwen3.5", "r1-distill"}
TURNS = [{"role": "system", "content": "Be good.\n"}, {"role": "user", "content": "Who?"}]

each_chat = pytest.mark.parametrize("family", CHATTING)
each_text = pytest.mark.parametrize(
    ("family", "format_"),
    [
        (family, format_)
        for family, one in CHATS.items()
        for format_ in (prompt.FORMATS if one.template else ["bare"])
    ],
)


def styled(family, format_, loss="answer"):
    """Return the tokenizer and the style of a family."""
    found = CHATS[family].tokenizer()
    return found, tokenization.style(found, format_, Encoder(("minimal",)), loss)


def example(tokenizer, style, *, answered=True):
    text = prompt.render(style, [Pair(GRID, GRID.T)], GRID.T, GRID if answered else None)
    return text, tokenization.tokenize(tokenizer, [text])[0]


@each_text
def test_a_text_starts_once_with_the_token_that_the_tokenizer_puts_before_texts(family, format_):
    tokenizer, style = styled(family, format_)
    text, tokens = example(tokenizer, style)
    bos = CHATS[family].bos
    assert style.start == bos
    assert text.prompt.startswith(bos)
    if bos:
        found = tokens.input_ids == tokenizer.convert_tokens_to_ids(bos)
        assert np.flatnonzero(found).tolist() == [0]
        assert not tokens.trained[0]


@each_text
def test_a_conversation_about_a_grid_starts_once_with_that_token(family, format_):
    tokenizer, style = styled(family, format_)
    # Templates that drop thoughts from earlier turns are refused with two questions.
    kinds = [1] if family in THINKING and format_ != "bare" else [1, 4]
    texts = conversation.converse(style, GRID, kinds)
    ids = tokenization.join(tokenization.tokenize(tokenizer, texts)).input_ids
    if CHATS[family].bos:
        found = ids == tokenizer.convert_tokens_to_ids(CHATS[family].bos)
        assert np.flatnonzero(found).tolist() == [0]


@each_chat
@pytest.mark.parametrize("format_", ["v0", "v1", "dialog"])
def test_a_chat_answer_ends_as_the_family_ends_a_turn(family, format_):
    tokenizer, style = styled(family, format_)
    _, tokens = example(tokenizer, style)
    assert style.end == CHATS[family].end
    assert tokens.input_ids[-1] == tokenizer.convert_tokens_to_ids(CHATS[family].end)


@each_chat
@pytest.mark.parametrize("format_", ["v0", "v1", "dialog"])
def test_no_prompt_has_an_open_block_of_thoughts(family, format_):
    tokenizer, style = styled(family, format_)
    text, _ = example(tokenizer, style)
    start, end = chat.THOUGHTS
    assert text.prompt.count(start) == text.prompt.count(end)
    assert (end in text.prompt) == (family in THINKING)


@each_chat
@pytest.mark.parametrize("format_", ["v0", "v1", "dialog"])
def test_every_prompt_has_the_system_message(family, format_):
    tokenizer, style = styled(family, format_)
    text, _ = example(tokenizer, style)
    first = (prompt.DIALOG_SYSTEM if format_ == "dialog" else prompt.CHATS[format_][0]).strip()
    assert text.prompt.count(first) == 1


@pytest.mark.parametrize("family", ["gemma-2", "mistral"])
def test_a_system_message_that_the_template_refuses_is_in_the_first_user_message(family):
    text = chat.render(CHATS[family].tokenizer(), TURNS, for_answer=True)
    assert "Be good.\n\nWho?" in text


def test_a_template_that_accepts_a_system_message_gets_it_as_a_message():
    text = chat.render(CHATS["qwen2"].tokenizer(), TURNS, for_answer=True)
    assert "<|im_start|>system\nBe good.\n<|im_end|>\n<|im_start|>user\nWho?" in text


class Tomorrow(dt.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2031, 1, 2, tzinfo=tz)


@pytest.mark.parametrize("family", ["llama-3.2", "smollm3"])
def test_a_prompt_is_the_same_on_another_day(family, monkeypatch):
    tokenizer = CHATS[family].tokenizer()
    today = chat.render(tokenizer, TURNS, for_answer=True)
    assert "26 Jul" in today
    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Tomorrow)
    own = tokenizer.apply_chat_template(TURNS, tokenize=False)
    assert "02 Jan" in own  # the template's own clock
    assert chat.render(tokenizer, TURNS, for_answer=True) == today


@pytest.mark.parametrize(
    "start", ["", "\n", "\n\n  ", "  ", "{# a note #}\n", "{%- set a = 1 -%}\n"]
)
def test_the_date_changes_no_other_text_of_a_template(start):
    tokenizer = CHATS["qwen2"].tokenizer()
    tokenizer.chat_template = f"{start}{tokenizer.chat_template}"
    own = tokenizer.apply_chat_template(TURNS, tokenize=False, add_generation_prompt=True)
    assert chat.render(tokenizer, TURNS, for_answer=True) == own


@each_text
@pytest.mark.parametrize("loss", prompt.LOSSES)
def test_a_prompt_is_the_start_of_its_training_text_and_has_every_cell(family, format_, loss):
    tokenizer, style = styled(family, format_, loss)
    _, asked = example(tokenizer, style, answered=False)
    _, taught = example(tokenizer, style)
    seam = len(asked.input_ids)
    np.testing.assert_array_equal(taught.input_ids[:seam], asked.input_ids)
    back = tokenization.decode(tokenizer, asked.input_ids.tolist())
    assert all(style.encoder.encode(grid) in back for grid in (GRID, GRID.T))


def test_a_tokenizer_that_adds_nothing_changes_no_text():
    style = styled("smollm2", "bare")[1]
    assert style.start == ""
    assert prompt.render(style, [], GRID, None).prompt.startswith("Input\n101")


def test_a_first_token_that_is_not_read_from_a_text_is_refused():
    tokenizer = CHATS["llama-3-base"].tokenizer()
    backend = tokenizer.backend_tokenizer
    # It would be read as the token 77.
    parts = [("[BOS]", backend.token_to_id("7"))]
    backend.post_processor = processors.TemplateProcessing("[BOS] [BOS] $A", None, parts)
    with pytest.raises(ValueError, match="puts '77' before each text, but does not read it"):
        chat.start_of_text(tokenizer)


def test_a_tokenizer_that_leaves_the_text_out_is_refused():
    tokenizer = CHATS["llama-3-base"].tokenizer()
    backend = tokenizer.backend_tokenizer
    backend.post_processor = processors.TemplateProcessing("[BOS]", None, [("[BOS]", 0)])

    with pytest.raises(ValueError, match="the start of a text is unknown; choose another model"):
        chat.start_of_text(tokenizer)
