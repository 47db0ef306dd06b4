import dataclasses
import itertools
from typing import Any, cast

import pytest
import torch

from arcmix.models import fetch, preflight, pretrained
from arcmix.text import prompt, tokenization
from arcmix.text.encode import Encoder
from tests import families
from tests.chats import CHATS
from tests.training.test_trainer import settings

TOKENIZER = fetch.character_tokenizer()
STYLE = tokenization.style(TOKENIZER, "bare", Encoder(("minimal",)), "answer")
TEXTS = preflight.examples(TOKENIZER, STYLE)


@pytest.mark.parametrize("format_", prompt.FORMATS)
def test_the_texts_are_small_tasks_whose_prompts_start_their_training_texts(format_):
    style = tokenization.style(TOKENIZER, format_, Encoder(("minimal",)), "answer")
    for text in preflight.examples(TOKENIZER, style):
        assert not text.trained[0]
        assert text.trained[-1]
        shown = tokenization.decode(TOKENIZER, text.input_ids[text.trained].tolist())
        assert prompt.parse_answer(style, shown) is not None


def test_a_prompt_that_differs_at_inference_is_refused():
    clock = itertools.count()
    style = tokenization.style(TOKENIZER, "v1", Encoder(("minimal",)), "answer")
    ticking = dataclasses.replace(style, chat=lambda turns: f"{next(clock)}{style.chat(turns)}")
    with pytest.raises(ValueError, match="at inference is not the start of the training text"):
        preflight.examples(TOKENIZER, ticking)


def test_packing_that_changes_no_loss_needs_nothing(base_model):
    found = preflight.packing(pretrained.load(base_model, "float32"), TEXTS, settings())
    assert found.found.startswith("a text has the same loss in a row with others, within 0.000")
    assert found.done == ""


def test_texts_that_a_model_mixes_get_rows_of_their_own():
    found = preflight.packing(families.model("qwen3.5"), TEXTS, settings())
    assert found == preflight.Finding(
        "packing", "the model mixes the texts of a row", "each text has its own row"
    )


class Counting(torch.nn.Module):
    """A model whose logits depend on the place of a token in its row, and on no other token."""

    def __init__(self):
        super().__init__()
        self.embeddings = torch.nn.Embedding(110, 1)

    def get_input_embeddings(self):
        return self.embeddings

    def forward(self, input_ids, logits_to_keep, **_):
        places = torch.arange(input_ids.shape[1])[None, :, None]
        logits = places / 20 * torch.eye(110)[input_ids[..., 0]][:, None]
        self.logits = logits[:, logits_to_keep]
        return self


def test_a_loss_that_depends_on_the_place_in_the_row_is_refused_with_the_remedy():
    how = settings(eval_tokens=10000)
    with pytest.raises(
        ValueError, match=r"changes by \d+\.\d+ nats per token .*micro_tokens and f"
    ):
        preflight.packing(cast("Any", Counting()), TEXTS, how)
    # The remedy.
    preflight.packing(cast("Any", Counting()), TEXTS, how.model_copy(update={"eval_tokens": 1}))


def test_a_loss_that_is_not_finite_is_refused_with_the_dtype(base_model):
    model = pretrained.load(base_model, "float16")
    with torch.no_grad():
        next(model.parameters()).mul_(60000)
    with pytest.raises(
        ValueError, match=r"is nan with finetune\.dtype float16; set it to bfloat16"
    ):
        preflight.packing(model, TEXTS, settings(dtype="float16"))


@pytest.mark.parametrize(("tied", "head"), [(True, "tied to"), (False, "separate from")])
def test_spare_embeddings_and_the_kind_of_output_layer_are_reported(tied, head):
    found = preflight.vocabulary(families.model("qwen2", tie_word_embeddings=tied), TOKENIZER)
    count = len(TOKENIZER)
    assert found.found == f"{count} tokens, 160 embeddings, an output layer {head} the embeddings"


@pytest.mark.parametrize(
    ("family", "found", "done"),
    [
        ("smollm2", "the tokenizer puts no token before texts", ""),
        ("gemma-2", "the tokenizer puts <bos> before texts", "each text has it"),
    ],
)
def test_the_first_token_of_texts_is_reported(family, found, done):
    style = tokenization.style(CHATS[family].tokenizer(), "v1", Encoder(("minimal",)), "answer")
    assert preflight.start(style) == preflight.Finding("start", found, done)


@pytest.mark.parametrize(
    ("family", "names", "found"),
    [
        ("qwen2", ("minimal",), "a token has one cell at most"),
        ("phi-3", ("minimal",), "a token has one cell at most"),
        ("llama-3.2", ("minimal",), "the tokenizer merges cells, as in '141'"),
        ("llama-3.2", ("separator",), "a token has one cell at most"),
        ("llama-3.2", ("minimal", "symbols"), "a token has one cell at most"),
    ],
)
def test_merged_cells_are_reported(family, names, found):
    tokenizer = CHATS[family].tokenizer()
    style = tokenization.style(tokenizer, "bare", Encoder(names), "answer")
    [text, *_] = preflight.examples(tokenizer, style)
    assert preflight.digits(tokenizer, style, text).found == found


@pytest.mark.parametrize(
    ("family", "longest", "found"),
    [
        ("qwen2", 900, "texts of up to 900 tokens, and 8192 positions"),
        ("gemma-3", 512, "texts of up to 512 tokens, and 8192 positions"),
        (
            "gemma-3",
            513,
            "texts of up to 513 tokens, and 8192 positions; attention slides over 512 tokens",
        ),
    ],
)
def test_the_longest_text_is_reported_with_the_positions_and_the_window(family, longest, found):
    assert preflight.window(families.model(family), longest).found == found
