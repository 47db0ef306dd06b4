import json
import os
import re
import shutil

import gguf
import jinja2
import pytest
import safetensors.torch
import torch
import transformers

from arcmix.models import fetch, pretrained
from tests import gguf_file
from tests.conftest import TINY


def weights(found):
    return torch.cat([weight.flatten() for weight in found.parameters()])


def test_a_random_model_is_determined_by_its_seed(tmp_path, base_model):
    fetch.random(TINY, tmp_path / "again")
    fetch.random(TINY.model_copy(update={"seed": 1}), tmp_path / "other")
    again, other, first = (
        weights(pretrained.load(folder, "float32"))
        for folder in (tmp_path / "again", tmp_path / "other", base_model)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_character_tokenizer_has_one_token_per_character_and_restores_the_text():
    tokenizer = fetch.character_tokenizer()
    text = "Input\n0123\n```grid shape: 1x4\nñò<|im_end|>"
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert len(ids) == len(text) - len("<|im_end|>") + 1
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    assert tokenizer.unk_token_id not in ids


@pytest.mark.parametrize("padding", [None, "<|im_end|>", "<unk>"])
def test_any_padding_token_or_none_is_kept(tmp_path, base_model, padding):
    shutil.copytree(base_model, tmp_path / "given")
    tokenizer = pretrained.load_tokenizer(base_model)
    tokenizer.pad_token = padding
    tokenizer.save_pretrained(tmp_path / "given")

    fetch.from_folder(tmp_path / "given", tmp_path / "out")

    assert pretrained.load_tokenizer(tmp_path / "out").pad_token == padding


def test_from_folder_refuses_a_folder_without_a_model(tmp_path):
    with pytest.raises(ValueError, match=re.escape(f"no config.json in {tmp_path}")):
        fetch.from_folder(tmp_path, tmp_path / "out")


def of_config(**changes):
    """Return a function that changes the config.json of a model's folder."""

    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def of_weights(function):
    """Return a function that changes the weights of a model's folder."""

    def change(folder):
        path = folder / "model.safetensors"
        weights = function(safetensors.torch.load_file(path))
        safetensors.torch.save_file(weights, path, {"format": "pt"})

    return change


def without(part):
    return of_weights(lambda weights: {name: w for name, w in weights.items() if part not in name})


def replaced(name, function):
    return of_weights(lambda weights: weights | {name: function(weights[name])})


def truncated(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def pickled(folder):
    path = folder / "model.safetensors"
    torch.save(safetensors.torch.load_file(path), folder / "pytorch_model.bin")
    path.unlink()


def lacking_a_shard(folder):
    shard = "model-00001-of-00002.safetensors"
    (folder / "model.safetensors").rename(folder / shard)
    places = {"model.norm.weight": shard, "x": "model-00002-of-00002.safetensors"}
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def of_vocabulary(rows):
    def change(folder):
        replaced("model.embed_tokens.weight", lambda weight: weight[:rows].clone())(folder)
        of_config(vocab_size=rows)(folder)

    return change


def adapted(folder):
    (folder / "adapter_config.json").write_text("{}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            without("0.self_attn.q_proj"),
            r"1 missing \(model\.layers\.0\.self_attn\.q_proj\.weight\); its config\.json",
            id="missing",
        ),
        pytest.param(
            of_weights(lambda _: {"x": torch.zeros(1)}),
            r"21 missing \(lm_head.weight, model\.\S+, \S+, \.\.\.\), 1 unexpected \(x\)",
            id="unrelated",
        ),
        pytest.param(
            of_weights(lambda weights: weights | {"x": torch.zeros(1)}),
            r"wrong: 1 unexpected \(x\)",
            id="unexpected",
        ),
        pytest.param(of_config(num_hidden_layers=1), "wrong: 9 unexpected", id="layers"),
        pytest.param(
            replaced("model.norm.weight", lambda weight: weight[:9].clone()),
            r"1 of another shape \(model\.norm\.weight \(9,\) instead of \(32,\)\)",
            id="shape",
        ),
        pytest.param(
            replaced("model.norm.weight", lambda weight: weight / 0),
            r"1 not finite \(model\.norm\.weight\)",
            id="infinite",
        ),
        pytest.param(of_config(model_type="bert"), "44 missing .* 20 unexpected", id="bert"),
        pytest.param(of_config(model_type="t5"), "T5Config.* for this kind", id="t5"),
        pytest.param(of_config(model_type="new"), "has model type `new`", id="new-type"),
        pytest.param(
            of_config(attn_implementation="evil/attention"),
            r"names code of the hub for the attention, \['evil/attention'\]",
            id="attention",
        ),
        pytest.param(
            of_config(text_config={"_attn_implementation": "evil/attention@main"}),
            "names code of the hub for the attention",
            id="nested-attention",
        ),
        pytest.param(
            of_config(quantization_config={"quant_method": "compressed-tensors"}),
            "cannot load .* compressed-tensors>=.* is required",
            id="quantized",
        ),
        pytest.param(truncated, "Error while deserializing header: incomplete", id="truncated"),
        pytest.param(lacking_a_shard, "No such file .*model-00002-of-00002", id="shard"),
        pytest.param(pickled, "no weights in .* pickles such as ", id="pickle"),
        pytest.param(
            of_vocabulary(9), r"for 9 tokens, .* have none: \$, %, &, \.\.\.;", id="vocabulary"
        ),
        pytest.param(adapted, "contains an adapter", id="adapter"),
        pytest.param(
            lambda folder: (folder / "tokenizer.json").unlink(),
            "cannot load .* with .*Tokenizer: Couldn't instantiate",
            id="tokenizer",
        ),
    ],
)
def test_a_model_whose_files_do_not_fit_together_is_refused_when_it_is_fetched(
    tmp_path, base_model, change, message
):
    shutil.copytree(base_model, tmp_path / "given")
    change(tmp_path / "given")
    with pytest.raises(ValueError, match=message) as caught:
        fetch.from_folder(tmp_path / "given", tmp_path / "out")
    assert "\n" not in str(caught.value)


BERT = transformers.BertConfig(
    vocab_size=110, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_that_sees_later_tokens_is_refused(tmp_path, dtype):
    BERT.is_decoder = False
    transformers.BertLMHeadModel(BERT).to(dtype).save_pretrained(tmp_path)
    fetch.character_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="the logits of a BertLMHeadModel depend on later tokens"):
        fetch.check(tmp_path)
    # With a mask, the same weights are a causal language model.
    BERT.is_decoder = True
    BERT.save_pretrained(tmp_path)
    fetch.check(tmp_path)


def test_untied_and_tied_output_layers_are_complete(tmp_path, base_model):
    shutil.copytree(base_model, tmp_path / "given")
    config = of_config(tie_word_embeddings=False)
    config(tmp_path / "given")
    with pytest.raises(ValueError, match=r"1 missing \(lm_head\.weight\)"):
        fetch.check(tmp_path / "given")
    of_weights(lambda w: w | {"lm_head.weight": 2 * w["model.embed_tokens.weight"]})(
        tmp_path / "given"
    )
    fetch.check(tmp_path / "given")


def test_buffers_of_old_files_are_no_unexpected_weights(tmp_path, base_model):
    shutil.copytree(base_model, tmp_path / "given")
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    of_weights(lambda weights: weights | {name: torch.ones(8)})(tmp_path / "given")
    fetch.check(tmp_path / "given")


def test_a_gguf_file_without_one_of_its_weights_is_refused(tmp_path, monkeypatch):
    added = gguf.GGUFWriter.add_tensor
    monkeypatch.setattr(
        gguf.GGUFWriter,
        "add_tensor",
        lambda self, name, *rest, **more: (
            None if name == "blk.0.ffn_up.weight" else added(self, name, *rest, **more)
        ),
    )
    gguf_file.write(tmp_path / "small.gguf")
    with pytest.raises(ValueError, match=r"1 missing \(model\.layers\.0\.mlp\.up_proj\.weight\)"):
        fetch.from_gguf(tmp_path / "small.gguf", tmp_path / "out")


EVIL = "from pathlib import Path\nPath({!r}).touch()\nraise SystemExit\n"


@pytest.mark.parametrize("automatic", ["AutoConfig", "AutoTokenizer"])
def test_the_code_of_a_model_is_neither_copied_nor_run_though_the_user_says_yes(
    tmp_path, base_model, monkeypatch, automatic
):
    shutil.copytree(base_model, tmp_path / "given")
    ran = tmp_path / "ran"
    (tmp_path / "given" / "evil.py").write_text(EVIL.format(str(ran)))
    kinds = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    of_config(model_type="evil", auto_map=kinds)(tmp_path / "given")
    path = tmp_path / "given" / "tokenizer_config.json"
    own = {"auto_map": {"AutoTokenizer": ["evil.Slow", "evil.Fast"]}, "tokenizer_class": "Fast"}
    if automatic == "AutoTokenizer":
        path.write_text(json.dumps(json.loads(path.read_text()) | own))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    for check in (fetch.check, lambda folder: fetch.from_folder(folder, tmp_path / "out")):
        with pytest.raises(ValueError, match="arcmix runs no code of a model, so transformers has"):
            check(tmp_path / "given")
    assert not ran.exists()
    assert not (tmp_path / "out" / "evil.py").exists()


def test_only_the_files_of_a_model_are_copied(tmp_path, base_model):
    shutil.copytree(base_model, tmp_path / "given")
    for name in ("code.py", "pytorch_model.bin", "training_args.pt", ".env"):
        (tmp_path / "given" / name).write_text("secret")
    os.mkfifo(tmp_path / "given" / "pipe.json")
    shutil.copytree(base_model, tmp_path / "given" / "checkpoint-5")
    fetch.from_folder(tmp_path / "given", tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {path.name for path in base_model.iterdir()}


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_followed(tmp_path, base_model):
    (tmp_path / "secret").write_text("key")
    given = tmp_path / "given"
    shutil.copytree(base_model, given / "blobs")
    for path in (given / "blobs").iterdir():
        (given / path.name).symlink_to(path)
    # The folder itself may be a link: its path is the user's own.
    (tmp_path / "link").symlink_to(given)
    fetch.from_folder(tmp_path / "link", tmp_path / "out")
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())

    (given / "vocab.txt").symlink_to(tmp_path / "secret")
    message = f"vocab.txt is a link out of its folder, to {tmp_path}/secret;.* cp -rL {given} COPY"
    with pytest.raises(ValueError, match=message):
        fetch.from_folder(given, tmp_path / "again")
    assert not (tmp_path / "again" / "vocab.txt").exists()


def test_a_chat_template_cannot_reach_python(base_model):
    tokenizer = pretrained.load_tokenizer(base_model)
    tokenizer.chat_template = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(jinja2.exceptions.SecurityError, match="'__class__'"):
        tokenizer.apply_chat_template([{"role": "user", "content": "?"}], tokenize=False)


def test_weights_in_parts_and_no_second_copy_of_them_are_copied(tmp_path, base_model):
    model = pretrained.load(base_model, "float32")
    model.save_pretrained(tmp_path / "given", max_shard_size="30KB")
    pretrained.load_tokenizer(base_model).save_pretrained(tmp_path / "given")
    parts = {path.name for path in (tmp_path / "given").glob("model-*.safetensors")}
    assert len(parts) > 1
    for name in ("consolidated.safetensors", "model.fp16.safetensors"):
        (tmp_path / "given" / name).write_bytes(b"?")
    fetch.from_folder(tmp_path / "given", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").glob("*.safetensors")} == parts
    assert torch.equal(weights(pretrained.load(tmp_path / "out", "float32")), weights(model))
