import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcmix.tasks import Pair
from arcmix.text import prompt
from arcmix.text.encode import Encoder

END = "<end>"


def grid(*rows: str) -> np.ndarray:
    return np.array([list(map(int, row)) for row in rows], np.uint8)


def chat(messages: list[prompt.Message]) -> str:
    turns = "".join(f"<{m['role']}>\n{m['content']}{END}\n" for m in messages)
    return f"{turns}<assistant>\n"


def style(format_: str, *names: str) -> prompt.Style:
    return prompt.Style(format_, Encoder(names), chat, END, "answer")


TRAIN = [Pair(grid("012"), grid("0", "1", "2")), Pair(grid("33", "44"), grid("5"))]
INPUT, OUTPUT = grid("678"), grid("6", "7", "8")

BARE = """\
Input
012
Output
0
1
2
Input
33
44
Output
5
Input
678
Output
"""

V1 = """\
<system>
You are a helpful assistant.<end>
<user>
Let's see if you can solve this puzzle from the Abstraction and Reasoning Corpus (ARC). Find \
the rule that turns each input grid into its output grid and apply it to the test case. The \
rules build on objects, goals, numbers and counting, and basic geometry and topology.

## Example 1

### Input

```grid
012
```

### Output

```grid
0
1
2
```

## Example 2

### Input

```grid
33
44
```

### Output

```grid
5
```

## Test case

### Input

```grid
678
```
<end>
<assistant>
"""


def test_a_bare_prompt_has_one_word_before_each_grid() -> None:
    text = prompt.render(style("bare", "minimal"), TRAIN, INPUT, OUTPUT)
    assert text.prompt == BARE
    assert text.answer == "6\n7\n8<end>"


def test_the_text_of_a_v1_prompt() -> None:
    text = prompt.render(style("v1", "minimal", "code_block"), TRAIN, INPUT, OUTPUT)
    assert text.prompt == V1
    assert text.answer == "### Output\n\n```grid\n6\n7\n8\n```<end>"


def test_v0_differs_from_v1_only_in_the_explanation() -> None:
    v0 = prompt.render(style("v0", "minimal", "code_block"), TRAIN, INPUT, OUTPUT)
    assert v0.prompt.startswith("<system>\nYou are an expert at the Abstraction and Reasoning")
    for prior in ("Objects", "Goals", "Numbers and counting", "Geometry and topology"):
        assert f"- {prior}: " in v0.prompt
    assert v0.prompt.partition("## Example 1")[2] == V1.partition("## Example 1")[2]
    assert v0.answer == "### Output\n\n```grid\n6\n7\n8\n```<end>"


def test_a_dialog_has_one_exchange_per_pair() -> None:
    seen = []
    used = prompt.Style(
        "dialog", Encoder(("minimal",)), lambda turns: seen.append(turns) or "", END, "answer"
    )
    text = prompt.render(used, TRAIN, INPUT, OUTPUT)
    [(system, *turns)] = seen
    assert system["role"] == "system"
    assert [(turn["role"], turn["content"]) for turn in turns] == [
        ("user", "Input:\n012"),
        ("assistant", "Output:\n0\n1\n2"),
        ("user", "Input:\n33\n44"),
        ("assistant", "Output:\n5"),
        ("user", "Input:\n678"),
    ]
    assert text.answer == "Output:\n6\n7\n8<end>"


@pytest.mark.parametrize("format_", prompt.FORMATS)
def test_the_prompt_does_not_depend_on_the_answer(format_: str) -> None:
    asked = prompt.render(style(format_, "minimal"), TRAIN, INPUT, None)
    taught = prompt.render(style(format_, "minimal"), TRAIN, INPUT, OUTPUT)
    assert asked == prompt.Text(taught.prompt, "", ())


def test_rendering_twice_gives_the_chat_template_the_same_two_messages() -> None:
    seen = []
    used = prompt.Style(
        "v1", Encoder(("minimal",)), lambda turns: seen.append(turns) or "", END, "answer"
    )
    for test in (INPUT, OUTPUT):
        prompt.render(used, TRAIN, test, None)
    assert [[turn["role"] for turn in turns] for turns in seen] == [["system", "user"]] * 2
    assert "678" not in seen[1][1]["content"]


@given(
    format_=st.sampled_from(prompt.FORMATS),
    names=st.sampled_from(["minimal", "minimal row_number shape", "separator symbols"]),
    rows=st.lists(st.text("0123456789", min_size=3, max_size=3), min_size=1, max_size=5),
)
def test_parse_answer_is_the_inverse_of_render(format_: str, names: str, rows: list[str]) -> None:
    used = style(format_, *names.split())
    output = grid(*rows)
    answer = prompt.render(used, TRAIN, INPUT, output).answer
    found = prompt.parse_answer(used, answer)
    assert found is not None
    np.testing.assert_array_equal(found, output)


@pytest.mark.parametrize(
    ("format_", "text"),
    [
        pytest.param("bare", "", id="nothing"),
        pytest.param("bare", "<end>", id="only-the-end"),
        pytest.param("bare", "6\n7", id="cut-short"),
        pytest.param("bare", "6\n7<end><end>", id="past-the-end"),
        pytest.param("bare", "6\n78<end>", id="ragged"),
        pytest.param("v1", "6\n7<end>", id="no-opening"),
        pytest.param("v1", "### Output\n6\n7<end>", id="opening-without-its-blank-line"),
        pytest.param("v1", "### Output\n\n6\n7", id="chat-cut-short"),
        pytest.param("dialog", "### Output\n\n6\n7<end>", id="opening-of-another-format"),
    ],
)
def test_a_text_that_render_cannot_return_is_no_answer(format_: str, text: str) -> None:
    assert prompt.parse_answer(style(format_, "minimal"), text) is None


@pytest.mark.parametrize(
    ("format_", "text"),
    [
        pytest.param("bare", "6\n7\n", id="bare"),
        pytest.param("v1", "### Output\n\n6\n7", id="without-its-end"),
        pytest.param("v1", "6\n7", id="without-its-opening"),
        pytest.param("dialog", "Sure. Output:\n6\n7", id="text-before-its-opening"),
    ],
)
def test_an_answer_is_found_without_its_end_and_after_other_text(format_: str, text: str) -> None:
    used = style(format_, "minimal")
    found = prompt.find_answer(used, text)
    assert found is not None
    np.testing.assert_array_equal(found, grid("6", "7"))
    assert prompt.find_answer(used, f"{text}x") is None


@given(st.sampled_from(prompt.FORMATS), st.text() | st.text("01\n#<end> "))
def test_parse_answer_accepts_any_text(format_: str, text: str) -> None:
    used = style(format_, "minimal")
    found = prompt.parse_answer(used, text)
    assert found is None or prompt.render(used, [], INPUT, found).answer == text


def test_an_unknown_format_is_rejected_with_the_known_formats() -> None:
    message = re.escape(
        "unknown prompt format 'v2'; the formats are ('bare', 'v0', 'v1', 'dialog')"
    )
    with pytest.raises(ValueError, match=message):
        style("v2", "minimal")


def test_a_style_without_an_end_token_is_rejected() -> None:
    with pytest.raises(ValueError, match="the end token of an answer is empty"):
        prompt.Style("bare", Encoder(("minimal",)), chat, "", "answer")


@pytest.mark.parametrize("format_", prompt.FORMATS)
def test_the_loss_outputs_marks_every_output_except_the_first(format_: str) -> None:
    plain = style(format_, "minimal", "code_block")
    marked = dataclasses.replace(plain, loss="outputs")
    pairs = [*TRAIN, Pair(OUTPUT, INPUT)]

    text = prompt.render(marked, pairs, INPUT, OUTPUT)

    assert text.prompt == prompt.render(plain, pairs, INPUT, OUTPUT).prompt
    found = [text.prompt[start:stop] for start, stop in text.trained]
    assert found == [plain.encoder.encode(pair.output) for pair in pairs[1:]]
    starts = [start for start, _ in text.trained]
    assert starts == sorted(starts)
    assert prompt.render(plain, pairs, INPUT, OUTPUT).trained == ()
