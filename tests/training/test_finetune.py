import json
import logging

import pandas as pd
import pytest
import torch

from arcmix.config import scales
from arcmix.models import adapters, pretrained
from arcmix.training import finetune
from arcmix.training.plan import Plan
from tests.training.test_trainer import SAMPLES, VALIDATION, settings

PROMPT = scales.Prompt(format="bare", encoder=("minimal",))


def load(base_model, adapter, prompt=PROMPT, **changes):
    return finetune.load(base_model, adapter, prompt, settings(**changes), 0)


def plan(**changes):
    return Plan(SAMPLES, VALIDATION, settings(**changes), 0, "none", None)


def trained_weights(model):
    return torch.cat([one.flatten() for one in model.parameters() if one.requires_grad])


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, base_model):
    """A folder with the adapter folder, the history and the checkpoints of a fine-tune."""
    folder = tmp_path_factory.mktemp("tuned")
    start = load(base_model, folder / "none")
    work = folder / "work"
    found, optimizer = finetune.run(start, plan(), work, folder / "history.csv")
    finetune.write_adapter(folder / "adapter", start, PROMPT, settings(), optimizer, work, found)
    return folder


def test_a_fine_tune_starts_with_a_new_adapter_or_with_an_earlier_one(base_model, tuned):
    fresh = load(base_model, tuned / "none")
    earlier = load(base_model, tuned / "adapter/last")
    assert not torch.equal(trained_weights(fresh.model), trained_weights(earlier.model))
    again = load(base_model, tuned / "none")
    assert torch.equal(trained_weights(fresh.model), trained_weights(again.model))


def test_a_fine_tune_starts_with_the_tokens_of_its_encoder(tmp_path, base_model):
    prompt = scales.Prompt(format="v1", encoder=("tokens",))
    start = load(base_model, tmp_path / "none", prompt, loss="outputs")
    numbers = {pretrained.token_id(start.tokenizer, f"<{color}>") for color in range(10)}
    assert adapters.effective(start.model)["added_tokens"] == sorted(numbers)
    assert (start.style.format, start.style.loss) == ("v1", "outputs")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine may have what qlora needs")
def test_a_method_that_this_machine_cannot_run_is_refused_before_any_file_is_read(tmp_path):
    with pytest.raises(ValueError, match="method qlora needs a CUDA GPU"):
        load(tmp_path / "no model", tmp_path / "none", method="qlora")


def test_only_the_last_weights_have_the_state_of_the_optimizer(tuned):
    path = tuned / "adapter/last" / finetune.OPTIMIZER_STATE
    assert finetune.optimizer_state(tuned / "adapter/last") == path
    assert finetune.optimizer_state(tuned / "adapter/best") is None


def test_the_history_has_a_row_for_each_measurement(tuned):
    assert pd.read_csv(tuned / "history.csv").step.tolist() == [0, 2, 4, 6]


def test_the_adapter_folder_holds_the_best_and_the_last_weights_and_the_text_format(tuned):
    names = {path.name for path in (tuned / "adapter").iterdir()}
    assert names == {"best", "last", "tokenizer", "prompt.json"}
    tokenizer, style = adapters.load_text(tuned / "adapter", "answer")
    assert style.format == "bare"
    assert len(tokenizer) > 0


def test_the_best_weights_have_the_lowest_validation_loss(tmp_path, base_model, tuned):
    # This learning rate destroys the adapter, so the best weights are the initial ones.
    start = load(base_model, tuned / "adapter/last")
    before = trained_weights(start.model).clone()
    high = plan(learning_rate=10.0, max_grad_norm=1e9)
    found, _ = finetune.run(start, high, tmp_path / "work", tmp_path / "history.csv")
    assert min(found, key=lambda one: one.val_loss).step == 0
    best = load(base_model, tmp_path / "work/best-0")
    assert torch.equal(trained_weights(best.model), before)


def test_a_run_killed_after_its_last_step_takes_no_further_step(tmp_path, base_model, caplog):
    caplog.set_level(logging.INFO)
    work, history = tmp_path / "work", tmp_path / "history.csv"
    first, _ = finetune.run(load(base_model, tmp_path / "none"), plan(), work, history)
    history.unlink()
    start = load(base_model, tmp_path / "none")
    again, _ = finetune.run(start, plan(), work, history)
    assert again == first
    assert f"an earlier run has finished; remove {work} to train again" in caplog.messages
    assert pd.read_csv(history).step.tolist() == [0, 2, 4, 6]
    last = trained_weights(load(base_model, work / "checkpoint-6").model)
    assert torch.equal(trained_weights(start.model), last)


def test_the_summary_has_the_effective_settings_and_the_samples_seen(tmp_path, base_model):
    start = load(base_model, tmp_path / "none")
    made = plan()
    found, _ = finetune.run(start, made, tmp_path / "work", tmp_path / "history.csv")
    components = [{"table": "all", "samples": 24, "epochs": 12.0}]
    summary = finetune.summary(start, made, found, components)
    assert (
        json.loads(json.dumps(summary))
        == summary
        == {
            "trained": adapters.effective(start.model),
            "steps": 6,
            "samples": 24,
            "epochs": pytest.approx(24 / len(SAMPLES)),
            "answer_tokens": found[-1].answer_tokens,
            "tokens": found[-1].tokens,
            "components": components,
        }
    )
