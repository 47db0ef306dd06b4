"""The text of a task: a prompt and its answer. Training and inference both use it.

Formats:

- `bare`: the grids, each after a line with one word. With `minimal` grids, each cell and each row
  end is a token, and a pair needs 4 more tokens. It is short and needs no chat template.
- `v0`, `v1`: chats with the headings of arc24's prompts, in other words. `v0` explains ARC and its
  priors in the system message, `v1` summarizes them in a sentence. The user's message ends with a
  line break, which arc24's does not. The answer starts with "### Output", which is trained like the
  rest of the answer, as in arc24.
- `dialog`: a chat with one exchange per pair, after arc24's iteration 1. The user shows an input,
  and the assistant shows its output. The chat template must accept several exchanges.

A grid with questions becomes a conversation in any format (`conversation`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from arcmix.tasks import Pair
from arcmix.text import lenient
from arcmix.text.encode import Encoder

Message = dict[str, str]
"""A turn of a chat: `role` and `content`."""

V0_SYSTEM = """\
You are an expert at the Abstraction and Reasoning Corpus (ARC), puzzles that measure how well \
a system picks up a new skill from very few examples.

A puzzle shows pairs of an input grid and an output grid. A grid is a rectangle of cells, at \
most 30 high and 30 wide; each cell holds one of ten colors, written as the digits 0 to 9, and \
0 is usually the background. One rule turns every input of the puzzle into its output. Find \
that rule and apply it to one more input. The answer counts only if its size and every cell \
are right.

The rules need no knowledge of the world, only what every person brings along:

- Objects: cells that touch or share a color form things, which persist, move, and may meet \
or hide one another.
- Goals: a puzzle can often be read as an action from a start to an aim, such as drawing the \
shortest line between two points.
- Numbers and counting: things are counted, sorted, compared by size, and repeated.
- Geometry and topology: shapes are turned, mirrored, scaled, shifted, joined, filled and \
enclosed.
"""

V1_SYSTEM = "You are a helpful assistant."

V0_TASK = """\
Let's see if you can solve this ARC puzzle. These examples of an input grid and its output \
grid show the rule."""

V1_TASK = """\
Let's see if you can solve this puzzle from the Abstraction and Reasoning Corpus (ARC). Find \
the rule that turns each input grid into its output grid and apply it to the test case. The \
rules build on objects, goals, numbers and counting, and basic geometry and topology."""

CHATS = {"v0": (V0_SYSTEM, V0_TASK), "v1": (V1_SYSTEM, V1_TASK)}
"""Format -> its system message and the start of its user message."""

DIALOG_SYSTEM = """\
You are a helpful assistant. You answer every input of the user with an output, and it is the \
same transformation each time."""

FORMATS = ("bare", *CHATS, "dialog")

LOSSES = ("answer", "outputs")
"""Texts with loss: only the answer, or every output except the first, which cannot be predicted
(as ARChitects 2024)."""

MARKS = ("\ue000", "\ue001")
"""Marks before and after trained text while a prompt is rendered; private-use characters."""

OPENINGS = {"bare": "", "dialog": "Output:\n"}
"""Format -> the start of an answer, before its grid."""

CHAT_OPENING = "### Output\n\n"
"""The start of an answer in the other formats."""


@dataclass(frozen=True)
class Style:
    """The form in which tasks are shown to a model.

    Raises:
        ValueError: If the format or the loss is unknown, or the end token is empty.
    """

    format: str
    """One of `FORMATS`."""
    encoder: Encoder
    """The encoder of the grids."""
    chat: Callable[[list[Message]], str]
    """Applies the model's chat template, up to the start of the assistant's answer. The format
    `bare` does not use it."""
    end: str
    """The token that ends an answer."""
    loss: str
    """The texts with loss, one of `LOSSES`."""
    start: str = ""
    """The tokens before each text, such as <bos>; empty if the model has none."""

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(
                f"unknown prompt format {self.format!r}; the formats are {FORMATS}: correct"
                " prompt.format"
            )
        if not self.end:
            raise ValueError(
                "the end token of an answer is empty, but the model needs one to end an answer;"
                " choose a model whose tokenizer has an end-of-text token"
            )
        if self.loss not in LOSSES:
            raise ValueError(
                f"unknown loss {self.loss!r}; the losses are {LOSSES}: correct finetune.loss"
            )

    @property
    def opening(self) -> str:
        """The start of an answer, before its grid."""
        return OPENINGS.get(self.format, CHAT_OPENING)

    def begun(self, text: str) -> str:
        """Return a text with the tokens before it, which a chat template may have written."""
        return text if text.startswith(self.start) else f"{self.start}{text}"


@dataclass(frozen=True)
class Text:
    """The text of one test of a task."""

    prompt: str
    """The text before the answer."""
    answer: str
    """The answer with its end token; empty if the model shall generate it."""
    trained: tuple[tuple[int, int], ...]
    """Spans of the prompt that have loss in addition to the answer, as [start, stop) characters."""


def render(
    style: Style, train: Sequence[Pair], test_input: np.ndarray, test_output: np.ndarray | None
) -> Text:
    """Return the text of one test.

    Args:
        style: The style of the text.
        train: The demonstrations.
        test_input: Input of the test, uint8 (height, width).
        test_output: Output of the test, or None for a prompt without an answer. The prompt is the
            same in both cases.
    """
    encode = style.encoder.encode
    shown = [(encode(pair.input), encode(pair.output)) for pair in train]
    if style.loss == "outputs":
        shown = shown[:1] + [(input_, output.join(MARKS)) for input_, output in shown[1:]]
    asked = encode(test_input)
    if style.format == "bare":
        pairs = "".join(f"Input\n{input_}\nOutput\n{output}\n" for input_, output in shown)
        prompt = f"{pairs}Input\n{asked}\nOutput\n"
    elif style.format == "dialog":
        prompt = style.chat(_dialog(style, shown, asked))
    else:
        prompt = style.chat(_question(style, shown, asked))
    prompt, spans = unmarked(style.begun(prompt))
    return Text(prompt, "" if test_output is None else answer(style, test_output), spans)


def answer(style: Style, grid: np.ndarray) -> str:
    """Return the text of an answer with its end token."""
    return f"{style.opening}{style.encoder.encode(grid)}{style.end}"


def unmarked(marked: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Return a text without its `MARKS`, and the spans between them as [start, stop) characters."""
    first, *rest = marked.split(MARKS[0])
    text, spans = first, []
    for part in rest:
        inside, _, after = part.partition(MARKS[1])
        spans.append((len(text), len(text) + len(inside)))
        text += inside + after
    return text, tuple(spans)


def _dialog(style: Style, shown: Sequence[tuple[str, str]], asked: str) -> list[Message]:
    turns = [("system", DIALOG_SYSTEM)]
    for input_, output in shown:
        turns.append(("user", f"Input:\n{input_}"))
        turns.append(("assistant", f"{style.opening}{output}"))
    turns.append(("user", f"Input:\n{asked}"))
    return [{"role": role, "content": content} for role, content in turns]


def _question(style: Style, shown: Sequence[tuple[str, str]], asked: str) -> list[Message]:
    system, task = CHATS[style.format]
    examples = "".join(
        f"## Example {number}\n\n### Input\n\n{input_}\n\n### Output\n\n{output}\n\n"
        for number, (input_, output) in enumerate(shown, 1)
    )
    user = f"{task}\n\n{examples}## Test case\n\n### Input\n\n{asked}\n"
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def parse_answer(style: Style, text: str) -> np.ndarray | None:
    """Return the grid of a generated answer.

    Args:
        style: The style of the prompt.
        text: The generated text with its end token and nothing after it.

    Returns:
        uint8 (height, width), or None if `text` is not the answer text of any grid. An answer
        without its end token has no grid, because more rows could follow.
    """
    if not (text.startswith(style.opening) and text.endswith(style.end)):
        return None
    return style.encoder.decode(text.removeprefix(style.opening).removesuffix(style.end))


def find_answer(style: Style, text: str) -> np.ndarray | None:
    """Return the grid in a generated answer, as arc24 reads it (`lenient`).

    Args:
        style: The style of the prompt.
        text: The generated text without its end token. It may be incomplete.

    Returns:
        uint8 (height, width), or None if `text` has no grid.
    """
    grid = text.split(style.opening, 1)[-1] if style.opening else text
    return lenient.decode(style.encoder.names, grid)
