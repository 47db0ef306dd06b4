from dataclasses import asdict

import pytest
import torch

from arcmix.models import adapters, pretrained
from arcmix.models.loss import prompt_losses
from arcmix.training import checkpoints, measurement, trainer
from arcmix.training.plan import Plan
from tests import tolerance
from tests.models.test_adapters import lora
from tests.training.test_trainer import SAMPLES, STEPS, VALIDATION, finetune, settings


@pytest.fixture(scope="module")
def plain(base_model):
    return finetune(base_model)


def measure(base_model):
    """Return the callback for a model that is not trained here."""
    plan = Plan(SAMPLES, VALIDATION, settings(), 0, "none", None)
    return measurement.Measure(pretrained.load(base_model, "float32"), plan, lambda _: None)


def test_the_loss_is_measured_at_step_0_every_eval_every_steps_and_at_the_end(base_model, plain):
    assert [one.step for one in plain] == [0, 2, 4, 6]
    assert [one.step for one in finetune(base_model, eval_every=4)] == [0, 4, 6]


def test_the_first_train_loss_is_the_mean_over_the_tokens_of_the_first_samples(base_model):
    found = finetune(base_model, budget=1, eval_every=1)
    base = pretrained.load(base_model, "float32")
    losses = prompt_losses(base, SAMPLES[:4], 40, done=lambda _: None)
    tokens = sum(one.trained_tokens for one in SAMPLES[:4])
    expected = losses.sum() / tokens
    assert found[-1].train_loss == tolerance.close(expected, tolerance.forward("float32"))
    assert found[-1].answer_tokens == tokens


def test_samples_repeat_after_the_last_one(plain):
    answers = [one.trained_tokens for one in SAMPLES]
    expected = sum((answers * 3)[: STEPS * 4])
    assert plain[-1].answer_tokens == expected
    assert plain[-1].tokens == sum(([len(one.input_ids) for one in SAMPLES] * 3)[: STEPS * 4])
    assert plain[-1].samples == STEPS * 4


def test_the_validation_loss_is_the_mean_over_all_answer_tokens(base_model, plain):
    losses = prompt_losses(pretrained.load(base_model, "float32"), VALIDATION, 500, lambda _: None)
    tokens = sum(one.trained_tokens for one in VALIDATION)
    within = tolerance.forward("float32")
    assert plain[0].val_loss == tolerance.close(losses.sum() / tokens, within)
    assert plain[0].losses == tolerance.close(losses.tolist(), within)


def test_measurements_are_restored_from_a_checkpoint(tmp_path, base_model, plain):
    checkpoints.complete(tmp_path, [asdict(one) for one in plain])
    again = measure(base_model)
    again.restore(tmp_path)
    assert again.measurements == plain


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_samples(tmp_path, base_model):
    one = adapters.attach(pretrained.load(base_model, "float32"), settings(), 0, [])
    with torch.no_grad():
        next(weight for name, weight in one.named_parameters() if "lora_A" in name).fill_(1e38)
    tokenizer = pretrained.load_tokenizer(base_model)
    plan = Plan(SAMPLES, VALIDATION, settings(), 0, "none", None)
    with pytest.raises(ValueError, match=r"at step 1, samples \[.*\]; lower the learning rate"):
        trainer.train(one, tokenizer, plan, tmp_path, None, lambda _: None)


def test_a_gradient_that_is_not_finite_stops_the_run_and_names_the_samples(base_model):
    # The update is zero, so the loss stays finite. params.yaml may have no such scale.
    steep = lora().model_copy(update={"alpha": 10**38})
    with pytest.raises(
        ValueError, match=r"norm must be finite, got inf at step 1, samples \[0, 1, 2, 3\]; lower"
    ):
        finetune(base_model, lora=steep)


def test_throughput_is_measured(plain):
    assert plain[0].tokens_per_second is None
    for one in plain[1:]:
        assert one.tokens_per_second > one.answer_tokens_per_second > 0
        assert one.seconds_per_step > 0
