import re

import pytest
import safetensors.torch
import torch

from arcmix.models import adapters, pretrained
from tests.predicting import finetuned


def save_adapter(base_model, folder):
    base = pretrained.load(base_model, "float32")
    adapters.save(adapters.attach(base, finetuned(), 0, []), folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda _: {}, r"28 missing \(base_model\.\S+, \S+, \S+, \.\.\.\)", id="none"),
        pytest.param(lambda w: dict([*w.items()][1:]), r"wrong: 1 missing \(", id="missing"),
        pytest.param(lambda w: w | {"x": torch.ones(1)}, r"1 unexpected \(x\)", id="unexpected"),
        pytest.param(
            lambda w: {name: weight[:, :-1].contiguous() for name, weight in w.items()},
            r"28 of another shape \(\S+ \(4, 63\) instead of \(4, 64\)",
            id="shape",
        ),
        pytest.param(
            lambda w: {name: weight * float("nan") for name, weight in w.items()},
            "28 not finite",
            id="nan",
        ),
    ],
)
def test_wrong_weights_of_an_adapter_are_refused_by_name(tmp_path, base_model, change, message):
    save_adapter(base_model, tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    safetensors.torch.save_file(change(safetensors.torch.load_file(path)), path)
    tokenizer = pretrained.load_tokenizer(base_model)
    for message_of in (re.escape(str(tmp_path)), message):
        with pytest.raises(ValueError, match=message_of):
            adapters.load(base_model, tmp_path, "float32", "lora", tokenizer, {})
        with pytest.raises(ValueError, match=message_of):
            adapters.resume(pretrained.load(base_model, "float32"), tmp_path, finetuned(), 0, [])


def test_truncated_weights_of_an_adapter_are_refused_with_their_folder(tmp_path, base_model):
    save_adapter(base_model, tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=re.escape(f"in {tmp_path} cannot be read: ")):
        adapters.resume(pretrained.load(base_model, "float32"), tmp_path, finetuned(), 0, [])


def test_a_folder_without_an_adapter_is_not_looked_for_on_the_hub(tmp_path, base_model):
    tokenizer = pretrained.load_tokenizer(base_model)
    with pytest.raises(ValueError, match=re.escape(f"no fine-tune in {tmp_path}: it has none of")):
        adapters.load(base_model, tmp_path, "float32", "lora", tokenizer, {})
