"""The table of model families in docs/models.md: each row is trained and asked in small."""

import re
from pathlib import Path

import pytest
import torch

from arcmix.models import adapters, fetch, loss, preflight, pretrained
from arcmix.prediction import kv_cache, reading
from arcmix.text import tokenization
from arcmix.text.encode import Encoder
from tests import families, tolerance
from tests.chats import CHATS
from tests.training.test_trainer import settings

PAGE = Path(__file__).parents[2] / "docs" / "models.md"

ROWS = {
    "SmolLM2": ("smollm2", "smollm2"),
    "SmolLM3": ("smollm3", "smollm3"),
    "Llama 3, base": ("llama-3", "llama-3-base"),
    "Llama 3.1": ("llama-3", "llama-3.1"),
    "Llama 3.2": ("llama-3", "llama-3.2"),
    "Qwen2": ("qwen2", "qwen2"),
    "Qwen2.5": ("qwen2", "qwen2.5"),
    "Qwen3": ("qwen3", "qwen3"),
    "Qwen3 Thinking": ("qwen3", "qwen3-thinking"),
    "Qwen3.5": ("qwen3.5", "qwen3.5"),
    "Gemma, base": ("gemma-3", "gemma-base"),
    "Gemma 2": ("gemma-2", "gemma-2"),
    "Gemma 3": ("gemma-3", "gemma-3"),
    "Gemma 4": ("gemma-4", "gemma-4"),
    "Gemma 3, with images": ("gemma-3-images", "gemma-3"),
    "Gemma 4, with images": ("gemma-4-images", "gemma-4"),
    "Phi-3": ("phi-3", "phi-3"),
    "Phi-4": ("phi-3", "phi-4"),
    "Mistral": ("mistral", "mistral"),
    "R1 distills": ("qwen2", "r1-distill"),
}
"""Row of the table -> its architecture and its tokenizer."""

MIXED = {"Qwen3.5"}
"""Rows whose models mix the texts of a row."""


def test_the_table_has_these_rows():
    text = PAGE.read_text().partition("## Families")[2]
    shown = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
    assert [one.strip() for one in shown] == ["model", "---", *ROWS]


@pytest.mark.parametrize("row", ROWS)
def test_a_model_of_each_family_trains_and_is_read_as_it_was_trained(tmp_path, row):
    architecture, chat = ROWS[row]
    tokenizer = CHATS[chat].tokenizer()
    # Spare rows, as most models have.
    size = len(tokenizer) + 10
    given = families.model(architecture, vocab_size=size)
    given.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    fetch.check(tmp_path / "base")
    how = settings(lora=settings().lora.model_copy(update={"targets": ("all-linear",)}))
    for format_ in ("bare", "v1") if tokenizer.chat_template else ("bare",):
        style = tokenization.style(tokenizer, format_, Encoder(("minimal",)), "answer")
        texts = preflight.examples(tokenizer, style)
        base = pretrained.load(tmp_path / "base", "float32")
        own = preflight.packing(base, texts, how)
        assert (own.done == "") == (row not in MIXED)
        tuned = adapters.attach(base, how, 0, [])
        # Each adapter is part of reading a text, so each gets a gradient.
        unused = [
            name for name, one in tuned.named_parameters() if one.requires_grad and "vision" in name
        ]
        assert unused == []
        before, after = (trained(tuned, texts, how, steps) for steps in (0, 3))
        assert after < before
        adapters.save(tuned, tmp_path / format_)
        kv_cache.check(base, 100)
        found = adapters.load(
            tmp_path / "base", tmp_path / format_, "float32", "lora", tokenizer, {}
        )
        assert trained(found, texts, how, 0) == tolerance.close(
            after, tolerance.training("float32")
        )
        reading.check(found, [one.input_ids.tolist() for one in texts])


def trained(model, texts, how, steps):
    """Return the loss of texts after some steps of training on them."""
    how = loss.fitted(how, model)
    for _ in range(steps):
        torch.cat([loss.token_losses(model, [one]) for one in texts]).mean().backward()
        with torch.no_grad():
            for one in model.parameters():
                if one.grad is not None:
                    one.sub_(0.01 * one.grad.sign())
        model.zero_grad()
    return loss.prompt_losses(model, texts, how.eval_tokens, done=lambda _: None).sum()
