"""A task as the text of a prompt and of its answer; training and inference both use it.

Formats:

- `bare`: the grids, each under one word. With `minimal` grids each cell and each row end is a
  token, and a pair costs 4 more. For small budgets; needs no chat template.
- `v0`, `v1`: the chat prompts of arc24 in our own words: `v0` explains ARC and its priors in
  the system message, `v1` leaves that to a sentence. The answer opens with "### Output",
  which is learned like the rest of it, as in arc24.
- `dialog`: a chat of one exchange a pair (arc24, iteration 1): the user shows an input, the
  assistant its output. The chat template has to take turns of both.

A grid to count in is a conversation instead, in any format: the grid and a question, the
answer, the next question and so on, every answer trained on (arc24, iteration 2).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from arcmix.tasks import Pair
from arcmix.text.encode import Encoder

Message = dict[str, str]
"""A turn of a chat: its role and its content."""

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
"""Format -> its system message and the opening of its user message."""

DIALOG_SYSTEM = """\
You are a helpful assistant. You answer every input of the user with an output, and it is the \
same transformation each time."""

FORMATS = ("bare", *CHATS, "dialog")

LOSSES = ("answer", "outputs")
"""What carries loss: the answer alone, or every output but the first, which nothing foretells
(peers train so: ARChitects 2024)."""

MARKS = ("\ue000", "\ue001")
"""Stand around what carries loss while a prompt is written; of Unicode's private use."""

OPENINGS = {"bare": "", "dialog": "Output:\n"}
"""Format -> what an answer begins with, before its grid."""

CHAT_OPENING = "### Output\n\n"
"""The opening of the other formats."""


@dataclass(frozen=True)
class Style:
    """How a model is shown a task.

    Raises:
        ValueError: If the format is unknown or the end is empty.
    """

    format: str
    """One of `FORMATS`."""
    encoder: Encoder
    """The text of a grid."""
    chat: Callable[[list[Message]], str]
    """The model's chat template, up to where the assistant's words begin; `bare` has no use
    for it."""
    end: str
    """The token that ends an answer."""
    loss: str
    """What carries loss, one of `LOSSES`."""

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"no prompt format {self.format!r}; a format is one of {FORMATS}")
        if not self.end:
            raise ValueError("an answer ends with a token, got none; a model without one rambles")
        if self.loss not in LOSSES:
            raise ValueError(f"no loss {self.loss!r}; what carries loss is one of {LOSSES}")

    @property
    def opening(self) -> str:
        """What an answer begins with, before its grid."""
        return OPENINGS.get(self.format, CHAT_OPENING)


@dataclass(frozen=True)
class Text:
    """The text of one test of a task."""

    prompt: str
    """Everything up to the answer."""
    answer: str
    """The answer with its end token; empty if it is for the model to write."""
    trained: tuple[tuple[int, int], ...]
    """Spans of the prompt that carry loss beside the answer: first character, and past the last."""


def render(
    style: Style, train: Sequence[Pair], test_input: np.ndarray, test_output: np.ndarray | None
) -> Text:
    """Return the text of one test: the prompt is the same with the output and without."""
    write = style.encoder.encode
    shown = [(write(pair.input), write(pair.output)) for pair in train]
    if style.loss == "outputs":
        shown = shown[:1] + [(input_, output.join(MARKS)) for input_, output in shown[1:]]
    asked = write(test_input)
    if style.format == "bare":
        pairs = "".join(f"Input\n{input_}\nOutput\n{output}\n" for input_, output in shown)
        prompt = f"{pairs}Input\n{asked}\nOutput\n"
    elif style.format == "dialog":
        prompt = style.chat(_dialog(style, shown, asked))
    else:
        prompt = style.chat(_question(style, shown, asked))
    prompt, spans = unmarked(prompt)
    return Text(prompt, "" if test_output is None else answer(style, test_output), spans)


def answer(style: Style, grid: np.ndarray) -> str:
    """Return the text of an answer with its end token."""
    return f"{style.opening}{style.encoder.encode(grid)}{style.end}"


def unmarked(marked: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Return a text without its `MARKS`, and the spans that stood between them."""
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
    """Return the grid of an answer, which must have come to its end.

    Args:
        style: How the model was shown the task.
        text: What the model wrote, with the end token and nothing after it.

    Returns:
        None if `render` writes this text for no grid. An answer without its end is such a
        text even where its rows make a grid, since more may have been to come.
    """
    if not (text.startswith(style.opening) and text.endswith(style.end)):
        return None
    return style.encoder.decode(text.removeprefix(style.opening).removesuffix(style.end))
