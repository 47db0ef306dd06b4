import json

import pytest

from arcmix import files
from arcmix.models import adapters, pretrained
from stages import preflight as stage
from tests import families, predicting
from tests.models.test_adapters import lora
from tests.training.test_trainer import settings


def run(
    folder,
    base_model,
    *,
    max_tokens=150,
    prompt=("bare", "minimal"),
    max_side=5,
    kv_format="none",
    **changes,
):
    """Run the stage, and return its findings by name."""
    stage.run(
        config=stage.Params.model_validate(
            {
                "prompt": {"format": prompt[0], "encoder": prompt[1:]},
                "finetune": settings(**changes),
                "max_tokens": max_tokens,
                "predict": predicting.settings(max_side=max_side, kv_format=kv_format),
            }
        ),
        base_model=base_model,
        initial=folder / "initial",
        out=folder / "passed",
        report=folder / "report.json",
    )
    found = json.loads((folder / "report.json").read_text())["findings"]
    return {one["check"]: one["found"] for one in found}


def test_run_writes_the_findings_and_a_constant_text(tmp_path, base_model):
    found = run(tmp_path, base_model)
    assert "an output layer tied to the embeddings" in found["vocabulary"]
    assert "the same loss in a row with others" in found["packing"]
    assert "the next token is as probable in a batch as alone" in found["reading"]
    assert "a token has one cell at most" in found["digits"]
    assert "texts of up to 180 tokens, and 4096 positions" in found["length"]
    assert "no token before texts" in found["start"]
    first = (tmp_path / "passed").read_text()
    run(tmp_path, base_model, max_tokens=200, prompt=("v1", "minimal", "shape"))
    assert (tmp_path / "passed").read_text() == first


def test_a_model_with_states_is_trained_and_read_text_by_text(tmp_path):
    families.write(tmp_path / "model", "lfm2")
    found = run(tmp_path, tmp_path / "model")
    assert found["packing"] == "the model mixes the texts of a row"
    assert (tmp_path / "passed").exists()


def test_what_prediction_refuses_is_refused_before_training(tmp_path):
    families.write(tmp_path / "model", "lfm2")
    with pytest.raises(ValueError, match=r"kv_format int8 rounds .* layers of \['conv'\]"):
        run(tmp_path, tmp_path / "model", kv_format="int8")
    assert not (tmp_path / "passed").exists()


@pytest.mark.parametrize("changes", [{"max_tokens": 4070}, {"max_side": 30, "max_tokens": 3200}])
def test_texts_with_more_tokens_than_positions_are_refused_before_training(
    tmp_path, base_model, changes
):
    with pytest.raises(ValueError, match=r"has 4096 positions, got texts of up to 41\d\d tokens"):
        run(tmp_path, base_model, **changes)


def test_training_texts_with_more_tokens_than_positions_are_refused_too(tmp_path):
    families.write(tmp_path / "model", "smollm2", max_position_embeddings=90)
    with pytest.raises(ValueError, match="has 90 positions, got texts of up to 100 tokens"):
        run(tmp_path, tmp_path / "model", max_tokens=40)


def test_added_tokens_of_an_untied_model_are_refused_before_training(tmp_path):
    families.write(tmp_path / "model", "qwen2", tie_word_embeddings=False)
    with pytest.raises(ValueError, match="encoder 'tokens' needs a model whose input and output"):
        run(tmp_path, tmp_path / "model", prompt=("bare", "tokens"))


def test_a_method_that_this_machine_cannot_run_is_refused_before_training(
    tmp_path, base_model, monkeypatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="method qlora needs a CUDA GPU"):
        run(tmp_path, base_model, method="qlora")


def test_the_model_on_the_disk_does_not_change(tmp_path, base_model):
    before = {path.name: path.read_bytes() for path in base_model.iterdir()}
    run(tmp_path, base_model, prompt=("bare", "tokens"))
    assert {path.name: path.read_bytes() for path in base_model.iterdir()} == before
    assert "<0>" not in pretrained.load_tokenizer(base_model).get_vocab()


def test_an_adapter_with_other_settings_is_refused_by_its_name_before_training(
    tmp_path, base_model
):
    base = pretrained.load_base(base_model, "float32", "lora")
    given = settings(lora=lora(rank=3))
    adapters.save(adapters.attach(base, given, 0, []), tmp_path / "initial/adapter")
    start = {
        "adapter": "folder mine",
        "address": f"{'a' * 32}.dir",
        "optimizer": "fresh",
        "uses_validation_demonstrations": None,
    }
    files.write_json(tmp_path / "initial/start.json", start)
    with pytest.raises(ValueError, match=r"init\.adapter, folder mine: .*rank 3 instead of \d"):
        run(tmp_path, base_model)
    assert not (tmp_path / "passed").exists()
    run(tmp_path, base_model, lora=lora(rank=3))
    assert (tmp_path / "passed").exists()
