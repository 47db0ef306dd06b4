import itertools
import string

import numpy as np
import pytest
import tokenizers
from transformers import PreTrainedTokenizerFast

from arcmix.tasks import Pair
from arcmix.text import conversation, prompt, tokenization
from arcmix.text.encode import LAYERS, SYMBOLS, Encoder

CHARACTERS = sorted({*string.printable, *SYMBOLS})
SPECIALS = ["<pad>", "<eos>", "<turn>", "<end>"]
TEMPLATE = (
    "{% for m in messages %}<turn>{{ m.role }}\n{{ m.content }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>assistant\n{% endif %}"
)

GRID = np.array([[1, 0, 1], [1, 1, 2]], np.uint8)
PAIR = Pair(GRID, GRID.T)


def encoders() -> list[Encoder]:
    found = []
    for length in range(1, 5):
        for names in itertools.permutations(LAYERS, length):
            try:
                found.append(Encoder(names))
            except ValueError:
                continue
    return found


def fast(model: tokenizers.models.Model, template: str | None) -> PreTrainedTokenizerFast:
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.add_special_tokens(SPECIALS)
    tokenizer.decoder = tokenizers.decoders.Fuse()  # pyright: ignore[reportAttributeAccessIssue]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<eos>",  # noqa: S106
        pad_token="<pad>",  # noqa: S106
        chat_template=template,
    )


def characters(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token per character."""
    vocabulary = {character: number for number, character in enumerate(CHARACTERS)}
    return fast(tokenizers.models.BPE(vocabulary, []), template)


def merging() -> PreTrainedTokenizerFast:
    """Return a tokenizer that merges equal digits, and a line break with the next digit or ###."""
    merges = [("1", "1"), ("\n", "1"), ("#", "#"), ("##", "#"), ("\n", "###")]
    vocabulary = {
        token: number for number, token in enumerate([*CHARACTERS, *map("".join, merges)])
    }
    return fast(tokenizers.models.BPE(vocabulary, merges), TEMPLATE)


@pytest.mark.parametrize("tokenizer", [characters(), merging()], ids=["characters", "merging"])
@pytest.mark.parametrize("format_", prompt.FORMATS)
def test_the_tokens_of_a_prompt_are_a_prefix_of_the_training_tokens(
    tokenizer: PreTrainedTokenizerFast, format_: str
) -> None:
    styles = [tokenization.style(tokenizer, format_, encoder, "answer") for encoder in encoders()]
    asked = [prompt.render(style, [PAIR], GRID.T, None) for style in styles]
    taught = [prompt.render(style, [PAIR], GRID.T, GRID) for style in styles]
    found = zip(
        styles,
        tokenization.tokenize(tokenizer, asked),
        tokenization.tokenize(tokenizer, taught),
        strict=True,
    )
    for style, question, lesson in found:
        seam = len(question.input_ids)
        assert question.labels.tolist() == [-100] * seam
        np.testing.assert_array_equal(lesson.input_ids[:seam], question.input_ids)
        assert lesson.labels.tolist() == [-100] * seam + lesson.input_ids[seam:].tolist()
        assert lesson.labels[-1] == tokenizer.convert_tokens_to_ids(style.end)
        answer = prompt.parse_answer(style, str(tokenizer.decode(lesson.input_ids[seam:])))
        assert answer is not None
        np.testing.assert_array_equal(answer, GRID)


def test_the_merging_tokenizer_merges_prompt_and_answer_if_they_are_joined() -> None:
    tokenizer = merging()
    style = tokenization.style(tokenizer, "bare", Encoder(("minimal",)), "answer")
    text = prompt.render(style, [PAIR], GRID.T, GRID)
    joint = tokenizer(text.prompt + text.answer)["input_ids"]
    assert joint != tokenization.tokenize(tokenizer, [text])[0].input_ids.tolist()


@pytest.mark.parametrize("tokenizer", [characters(), merging()], ids=["characters", "merging"])
@pytest.mark.parametrize("format_", prompt.FORMATS)
def test_only_the_answers_of_a_conversation_have_loss(
    tokenizer: PreTrainedTokenizerFast, format_: str
) -> None:
    style = tokenization.style(tokenizer, format_, Encoder(("minimal", "row_number")), "answer")
    texts = conversation.converse(style, GRID, [1, 4, 0])
    whole = tokenization.join(tokenization.tokenize(tokenizer, texts))

    end = tokenizer.convert_tokens_to_ids(style.end)
    edges = np.flatnonzero(np.diff(whole.trained)) + 1
    assert not whole.trained[0]
    assert whole.trained[-1]
    spans = np.split(whole.input_ids, edges)[1::2]
    answers = ["1, 1", "0: 1, 2: 1", "2"]
    assert [str(tokenizer.decode(span)) for span in spans] == [one + style.end for one in answers]
    assert [span[-1] for span in spans] == [end] * 3
    # The prompt with the third question is a prefix of the training text.
    seam = edges[-1]
    asked = tokenization.tokenize(tokenizer, [*texts[:2], prompt.Text(texts[2].prompt, "", ())])
    assert tokenization.join(asked).input_ids.tolist() == whole.input_ids[:seam].tolist()


def test_the_list_of_encoders_contains_every_composition() -> None:
    assert len(encoders()) == 63


def test_tokens_and_labels_of_a_bare_text() -> None:
    tokenizer = characters()
    style = tokenization.style(tokenizer, "bare", Encoder(("minimal",)), "answer")
    [example] = tokenization.tokenize(tokenizer, [prompt.render(style, [], GRID, GRID)])
    asked = [*"Input\n101\n112\nOutput\n"]
    answer = [*"101\n112", "<eos>"]
    assert tokenizer.convert_ids_to_tokens(example.input_ids.tolist()) == asked + answer
    assert example.labels.tolist() == [-100] * len(asked) + example.input_ids[len(asked) :].tolist()
    assert example.trained_tokens == len(answer)


def test_texts_stay_in_order() -> None:
    tokenizer = characters()
    texts = [
        prompt.Text("abc", "d<eos>", ()),
        prompt.Text("e", "", ()),
        prompt.Text("f", "gh<eos>", ()),
    ]
    found = tokenization.tokenize(tokenizer, texts)
    assert [tokenizer.decode(example.input_ids) for example in found] == [
        "abcd<eos>",
        "e",
        "fgh<eos>",
    ]
    assert tokenization.tokenize(tokenizer, []) == []


@pytest.mark.parametrize("side", [1, 4, 30])
@pytest.mark.parametrize("format_", prompt.FORMATS)
@pytest.mark.parametrize("names", ["minimal", "minimal row_number shape", "repeat symbols"])
def test_no_answer_has_more_tokens_than_the_budget(names: str, format_: str, side: int) -> None:
    tokenizer = characters()
    style = tokenization.style(tokenizer, format_, Encoder(tuple(names.split())), "answer")
    shapes = {(1, side), (side, 1), (side - side // 2, side), (side, side)}
    grids = [np.arange(height * width).reshape(height, width) % 10 for height, width in shapes]
    texts = [prompt.render(style, [], GRID, grid.astype(np.uint8)) for grid in grids]
    lengths = [example.trained_tokens for example in tokenization.tokenize(tokenizer, texts)]
    assert max(lengths) == tokenization.answer_budget(tokenizer, style, side)


def test_the_budget_of_a_minimal_grid_is_one_token_per_cell_and_per_row() -> None:
    tokenizer = characters()
    style = tokenization.style(tokenizer, "bare", Encoder(("minimal",)), "answer")
    assert tokenization.answer_budget(tokenizer, style, 30) == 30 * 30 + 29 + 1


def test_the_budget_is_that_of_the_grid_with_the_fewest_merges() -> None:
    tokenizer = merging()
    style = tokenization.style(tokenizer, "bare", Encoder(("minimal",)), "answer")
    assert tokenization.answer_budget(tokenizer, style, 4) == 4 * 4 + 3 + 1


@pytest.mark.parametrize(
    ("template", "end"),
    [
        pytest.param(TEMPLATE, "<end>", id="end-of-turn"),
        pytest.param(
            "{% for m in messages %}{{ m.content }}<end>\n{% endfor %}<eos>",
            "<end>",
            id="end-of-turn-then-end-of-text",
        ),
        pytest.param(
            "{% for m in messages %}{{ m.content }}\n{% endfor %}", "<eos>", id="no-end-of-turn"
        ),
    ],
)
def test_a_chat_answer_has_the_end_token_of_the_chat_template(template: str, end: str) -> None:
    tokenizer = characters(template)
    assert tokenization.style(tokenizer, "v1", Encoder(("minimal",)), "answer").end == end
    assert tokenization.style(tokenizer, "bare", Encoder(("minimal",)), "answer").end == "<eos>"


def test_a_chat_format_without_a_chat_template_is_rejected() -> None:
    message = "prompt format 'v1' needs a chat template, but the model's tokenizer has none"
    with pytest.raises(ValueError, match=message):
        tokenization.style(characters(template=None), "v1", Encoder(("minimal",)), "answer")


@pytest.mark.parametrize("eos", [None, "stop"])
def test_an_end_of_more_or_less_than_one_token_is_rejected(eos: str | None) -> None:
    tokenizer = characters()
    tokenizer.eos_token = eos
    message = f"the end of an answer is not a single token of the tokenizer, got {eos!r}"
    with pytest.raises(ValueError, match=message):
        tokenization.style(tokenizer, "bare", Encoder(("minimal",)), "answer")


TURN = "<turn>{{ m.role }}\n{{ m.content }}<end>\n"
EACH = "{{% for m in messages %}}{}{{% endfor %}}<turn>assistant\n"


@pytest.mark.parametrize("format_", ["v0", "v1", "dialog"])
@pytest.mark.parametrize(
    "template",
    [
        pytest.param("<turn>012<end>", id="no-message"),
        pytest.param(EACH.format("{% if m.role != 'user' %}" + TURN + "{% endif %}"), id="no-user"),
        pytest.param(EACH.format("<turn>{{ m.content[:20] }}012<end>"), id="cut"),
        pytest.param(EACH.format("<turn>{{ m.content | tojson }}<end>"), id="escaped"),
        pytest.param(EACH.format(2 * TURN), id="twice"),
        pytest.param(EACH.format("<turn>{{ m.content | replace('\n', ' ') }}"), id="line"),
    ],
)
def test_a_chat_template_that_does_not_show_each_grid_once_is_refused(
    template: str, format_: str
) -> None:
    tokenizer = characters(template)
    message = f"drops, changes, repeats or reorders grids in the format '{format_}', so the model"
    with pytest.raises(ValueError, match=message):
        tokenization.style(tokenizer, format_, Encoder(("minimal",)), "answer")
    # The format `bare` does not use the template.
    tokenization.style(tokenizer, "bare", Encoder(("minimal",)), "answer")


@pytest.mark.parametrize(
    "messages", ["messages[-2:]", "messages | reverse"], ids=["last-turns", "reversed"]
)
def test_a_chat_template_that_changes_the_order_of_turns_is_refused_in_a_dialog(
    messages: str,
) -> None:
    template = EACH.format(TURN).replace("messages", messages)
    with pytest.raises(ValueError, match="drops, changes, repeats or reorders grids in the format"):
        tokenization.style(characters(template), "dialog", Encoder(("minimal",)), "answer")


@pytest.mark.parametrize("format_", ["v0", "v1", "dialog"])
def test_a_chat_template_may_trim_messages_and_drop_the_system_message(format_: str) -> None:
    turn = "{% if m.role != 'system' %}<turn>{{ m.content | trim }}<end>{% endif %}"
    tokenization.style(characters(EACH.format(turn)), format_, Encoder(("minimal",)), "outputs")


def test_a_chat_template_that_drops_the_marks_of_trained_outputs_is_refused() -> None:
    plain = "<turn>{{ m.content | replace('\ue000', '') | replace('\ue001', '') }}<end>"
    tokenizer = characters(EACH.format(plain))
    tokenization.style(tokenizer, "v1", Encoder(("minimal",)), "answer")
    with pytest.raises(ValueError, match="the chat template drops the marks of trained outputs"):
        tokenization.style(tokenizer, "v1", Encoder(("minimal",)), "outputs")


def test_a_chat_template_that_drops_the_answer_is_refused() -> None:
    turn = "{% if m.role != 'assistant' %}" + TURN + "{% endif %}"
    with pytest.raises(ValueError, match="the chat template drops the assistant's answer"):
        tokenization.style(characters(EACH.format(turn)), "v1", Encoder(("minimal",)), "answer")


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        ("{% if m.role == 'user' %}{{ raise_exception('no user') }}{% endif %}", "no user"),
        ("{{ m.tools.first }}", "has no attribute 'tools'"),
        ("{{ m.__class__.__mro__ }}", "access to attribute '__class__' of 'dict' object is unsafe"),
    ],
    ids=["raises", "undefined", "unsafe"],
)
def test_an_error_of_a_chat_template_is_an_error_that_says_what_to_choose(
    turn: str, message: str
) -> None:
    tokenizer = characters(EACH.format("<turn>{{ m.content }}<end>" + turn))
    with pytest.raises(ValueError, match=f"refuses the turns .*{message}.*; choose another model"):
        tokenization.style(tokenizer, "v1", Encoder(("minimal",)), "answer")


def lossy(unknown: str, dropped: str) -> PreTrainedTokenizerFast:
    """Return a character tokenizer without some characters, which drops others before."""
    known = ["<unk>", *(one for one in CHARACTERS if one not in unknown)]
    vocabulary = {character: number for number, character in enumerate(known)}
    tokenizer = fast(tokenizers.models.BPE(vocabulary, [], unk_token="<unk>"), None)  # noqa: S106
    tokenizer.backend_tokenizer.normalizer = tokenizers.normalizers.Replace(dropped, "")
    return tokenizer


@pytest.mark.parametrize(
    ("unknown", "dropped", "names"),
    [
        pytest.param("789", "x", ["minimal"], id="unknown-digits"),
        pytest.param("", "\n", ["minimal"], id="no-line-breaks"),
        pytest.param("ñ", "x", ["minimal", "symbols"], id="unknown-symbol"),
        pytest.param("", "|", ["separator"], id="no-separator"),
    ],
)
def test_a_tokenizer_that_loses_grids_is_refused(
    unknown: str, dropped: str, names: list[str]
) -> None:
    tokenization.style(lossy("", "x"), "bare", Encoder(tuple(names)), "answer")
    message = f"the tokenizer loses grids of the encoder {'/'.join(names)}: .* became"
    with pytest.raises(ValueError, match=message):
        tokenization.style(lossy(unknown, dropped), "bare", Encoder(tuple(names)), "answer")


def test_a_tokenizer_that_loses_a_cell_of_the_prompt_only_is_refused() -> None:
    tokenizer = characters()
    tokenizer.backend_tokenizer.normalizer = tokenizers.normalizers.Replace("Input\n3", "Input\n")
    with pytest.raises(
        ValueError, match=r"loses grids of a prompt in the format 'bare': .* became"
    ):
        tokenization.style(tokenizer, "bare", Encoder(("minimal",)), "answer")


def test_a_tokenizer_that_marks_the_start_of_a_text_as_a_word_loses_no_grid() -> None:
    tokenizer = characters()
    backend = tokenizer.backend_tokenizer
    vocabulary = {one: number for number, one in enumerate(["▁", *CHARACTERS])}
    backend.model = tokenizers.models.BPE(vocabulary, [])
    parts = [tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")]
    backend.normalizer = tokenizers.normalizers.Sequence(parts)
    decoders = tokenizers.decoders
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    style = tokenization.style(tokenizer, "bare", Encoder(("minimal", "row_number")), "answer")
    [example] = tokenization.tokenize(tokenizer, [prompt.render(style, [], GRID, GRID)])
    assert tokenizer.convert_ids_to_tokens(example.input_ids.tolist())[0] == "▁"
