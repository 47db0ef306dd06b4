import ast
import re
import sys
from pathlib import Path

import pytest
import torch

from arcmix.models import pretrained


def test_an_added_token_starts_with_the_embedding_of_its_model_token(base_model):
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


def test_no_token_is_added_to_a_model_whose_embeddings_are_not_tied(base_model):
    plain = pretrained.load(base_model, "float32")
    plain.config.tie_word_embeddings = False
    tokenizer = pretrained.load_tokenizer(base_model)
    with pytest.raises(ValueError, match="needs a model whose input and output embeddings are"):
        pretrained.add_tokens(plain, tokenizer, {"<a>": "7"})
    assert pretrained.add_tokens(plain, tokenizer, {}) == []


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A function that sets whether this machine has a GPU and whether it has bitsandbytes."""

    def set_up(*, gpu, library):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        # None in place of a module hides it.
        monkeypatch.setitem(sys.modules, "bitsandbytes", None)
        if library:
            monkeypatch.delitem(sys.modules, "bitsandbytes")
            (tmp_path / "bitsandbytes").mkdir()
            monkeypatch.syspath_prepend(tmp_path)

    return set_up


@pytest.mark.parametrize(
    ("values", "gpu", "library", "message"),
    [
        pytest.param(
            ["qlora", "adamw"],
            False,
            True,
            "method qlora needs a CUDA GPU and bitsandbytes, but this machine has no CUDA GPU;"
            " use another machine or another method: lora, full",
            id="no-gpu",
        ),
        pytest.param(
            ["lora", "paged_adamw_8bit"],
            True,
            False,
            "optimizer paged_adamw_8bit needs a CUDA GPU and bitsandbytes, but this machine has no"
            " bitsandbytes (pip install 'arcmix[qlora]'); use another machine or another"
            " optimizer: adamw",
            id="no-library",
        ),
        pytest.param(["qlora"], False, False, "no CUDA GPU and no bitsandbytes (pip", id="neither"),
    ],
)
def test_methods_that_need_a_gpu_and_bitsandbytes_are_refused_without_them(
    machine, values, gpu, library, message
):
    machine(gpu=gpu, library=library)
    with pytest.raises(ValueError, match=re.escape(message)):
        pretrained.require_gpu(*values)


def test_other_methods_run_anywhere_and_these_run_with_a_gpu(machine):
    machine(gpu=False, library=False)
    pretrained.require_gpu("lora", "full", "adamw")
    machine(gpu=True, library=True)
    pretrained.require_gpu("qlora", "paged_adamw_8bit")


def test_4_bit_weights_are_not_loaded_without_a_gpu(machine, base_model):
    machine(gpu=False, library=False)
    with pytest.raises(ValueError, match="method qlora needs a CUDA GPU"):
        pretrained.load_base(base_model, "float32", "qlora")
    assert pretrained.load_base(base_model, "float16", "full").dtype == torch.float16


SOURCES = [*(Path(__file__).parents[2] / "src").rglob("*.py")]


def test_one_function_loads_models_and_tokenizers_and_it_trusts_no_code():
    calls = [
        (path.name, ast.unparse(call))
        for path in SOURCES
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("from_pretrained")
    ]
    # The configuration of an adapter is values only.
    models = [call for call in calls if not call[1].startswith("peft.LoraConfig.from_pretrained(")]
    assert models == [
        ("pretrained.py", "kind.from_pretrained(folder, trust_remote_code=False, **options)")
    ]


@pytest.mark.parametrize("word", [r"torch\.load\(", r"import pickle", r"trust_remote_code\W+True"])
def test_no_module_reads_pickles_or_trusts_code(word):
    assert [path.name for path in SOURCES if re.search(word, path.read_text())] == []


def test_a_folder_that_does_not_exist_is_not_taken_for_a_repository_of_the_hub(tmp_path):
    message = f"{tmp_path}/none is no folder, so it contains no model; run: dvc repro"
    with pytest.raises(ValueError, match=re.escape(message)):
        pretrained.load_tokenizer(tmp_path / "none")
