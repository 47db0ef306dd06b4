import pytest

from arcmix.text import conversation, prompt
from arcmix.text.encode import Encoder
from tests.text.test_prompt import END, grid, style

SCENE = grid("0110", "0000", "1002")
ALL = [4, 0, 3, 1, 2]

BARE_TALK = """\
Question
0110
0000
1002
How many objects are there of each color?
Answer
1: 2, 2: 1<end>
Question
How many objects are there?
Answer
3<end>
Question
What is the area of the smallest object?
Answer
1<end>
Question
What are the areas of all objects, from small to big?
Answer
1, 1, 2<end>
Question
What is the area of the biggest object?
Answer
2<end>"""

CHAT_TALK = """\
<system>
You are a helpful assistant.<end>
<user>
```grid
0110
0000
1002
```
What is the area of the biggest object?<end>
<assistant>
2<end>
<user>
How many objects are there?<end>
<assistant>
3<end>"""


def joined(texts: list[prompt.Text]) -> str:
    return "".join(text.prompt + text.answer for text in texts)


def test_the_text_of_a_bare_conversation() -> None:
    assert joined(conversation.converse(style("bare", "minimal"), SCENE, ALL)) == BARE_TALK


@pytest.mark.parametrize("format_", ["v0", "v1", "dialog"])
def test_a_conversation_is_the_same_chat_in_each_chat_format(format_: str) -> None:
    texts = conversation.converse(style(format_, "minimal", "code_block"), SCENE, [2, 0])
    assert joined(texts) == CHAT_TALK


@pytest.mark.parametrize("format_", prompt.FORMATS)
def test_every_turn_ends_with_an_answer_and_the_end_token(format_: str) -> None:
    texts = conversation.converse(style(format_, "minimal"), SCENE, ALL)
    assert [text.answer for text in texts] == [
        "1: 2, 2: 1<end>",
        "3<end>",
        "1<end>",
        "1, 1, 2<end>",
        "2<end>",
    ]
    assert {text.trained for text in texts} == {()}


@pytest.mark.parametrize("format_", prompt.FORMATS)
def test_a_conversation_with_fewer_questions_is_a_prefix_of_one_with_more(format_: str) -> None:
    used = style(format_, "separator", "shape")
    whole = conversation.converse(used, SCENE, ALL)
    for number in range(len(ALL) + 1):
        assert conversation.converse(used, SCENE, ALL[:number]) == whole[:number]


def test_a_chat_template_that_changes_earlier_turns_is_rejected() -> None:
    def forgetful(turns: list[prompt.Message]) -> str:
        return "".join(f"{turn['content']}{END}" for turn in turns[-2:])

    used = prompt.Style("v1", Encoder(("minimal",)), forgetful, END, "answer")
    assert len(conversation.converse(used, SCENE, [0])) == 1
    message = "the chat template changes the text of earlier turns .* became .* 'bare'"
    with pytest.raises(ValueError, match=message):
        conversation.converse(used, SCENE, [0, 1])
