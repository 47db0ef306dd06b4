import re
import sys

import pytest
import torch

from arcmix.models import pretrained


def test_an_added_token_begins_as_the_token_it_is_like(base_model):
    plain = pretrained.load(base_model, "float32")
    before = plain.get_parameter("model.embed_tokens.weight").detach().clone()
    tokenizer = pretrained.load_tokenizer(base_model)
    numbers = pretrained.add_tokens(plain, tokenizer, {"<a>": "7", "<b>": "3"})
    assert numbers == [len(before), len(before) + 1]
    assert tokenizer.encode("x<b><a>", add_special_tokens=False)[1:] == numbers[::-1]
    weights = plain.get_parameter("model.embed_tokens.weight")
    like = [pretrained.token_id(tokenizer, token) for token in ("7", "3")]
    assert torch.equal(weights[: len(before)], before)
    assert torch.equal(weights[numbers], before[like])
    assert plain.get_parameter("lm_head.weight") is weights


def test_no_token_is_added_to_a_model_that_could_not_learn_it(base_model):
    plain = pretrained.load(base_model, "float32")
    plain.config.tie_word_embeddings = False
    tokenizer = pretrained.load_tokenizer(base_model)
    with pytest.raises(ValueError, match="needs a model whose input and output embeddings are"):
        pretrained.add_tokens(plain, tokenizer, {"<a>": "7"})
    assert pretrained.add_tokens(plain, tokenizer, {}) == []


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A function that gives this machine a GPU, or takes it, and bitsandbytes likewise."""

    def becomes(*, gpu, library):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        # None in place of a module hides it.
        monkeypatch.setitem(sys.modules, "bitsandbytes", None)
        if library:
            monkeypatch.delitem(sys.modules, "bitsandbytes")
            (tmp_path / "bitsandbytes").mkdir()
            monkeypatch.syspath_prepend(tmp_path)

    return becomes


@pytest.mark.parametrize(
    ("values", "gpu", "library", "message"),
    [
        pytest.param(
            ["qlora", "adamw"],
            False,
            True,
            "method qlora needs a CUDA GPU and bitsandbytes, and here is no CUDA GPU;"
            " run it elsewhere or choose another method: lora, full",
            id="no-gpu",
        ),
        pytest.param(
            ["lora", "paged_adamw_8bit"],
            True,
            False,
            "optimizer paged_adamw_8bit needs a CUDA GPU and bitsandbytes, and here is no"
            " bitsandbytes (pip install 'arcmix[qlora]'); run it elsewhere or choose another"
            " optimizer: adamw",
            id="no-library",
        ),
        pytest.param(["qlora"], False, False, "no CUDA GPU and no bitsandbytes (pip", id="neither"),
    ],
)
def test_what_needs_a_gpu_and_bitsandbytes_is_refused_without(
    machine, values, gpu, library, message
):
    machine(gpu=gpu, library=library)
    with pytest.raises(ValueError, match=re.escape(message)):
        pretrained.require_gpu(*values)


def test_what_needs_no_gpu_runs_anywhere_and_what_does_with_one(machine):
    machine(gpu=False, library=False)
    pretrained.require_gpu("lora", "full", "adamw")
    machine(gpu=True, library=True)
    pretrained.require_gpu("qlora", "paged_adamw_8bit")


def test_no_weights_of_4_bits_are_loaded_without_a_gpu(machine, base_model):
    machine(gpu=False, library=False)
    with pytest.raises(ValueError, match="method qlora needs a CUDA GPU"):
        pretrained.load_base(base_model, "float32", "qlora")
    assert pretrained.load_base(base_model, "float16", "full").dtype == torch.float16
