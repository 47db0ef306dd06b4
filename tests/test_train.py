import math

import numpy as np
import pytest
import torch

from arcmix import model, params, train
from arcmix.examples import Example
from tests.test_model import lora

STEPS = 6


def settings(**changes):
    plain = {
        "steps": STEPS,
        "batch": 4,
        "micro_batch": 2,
        "max_tokens": 100,
        "learning_rate": 0.02,
        "schedule": "constant_with_warmup",
        "warmup": 0.0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "dtype": "float32",
        "eval_every": 2,
        "eval_batch": 3,
        "lora": lora(),
    }
    return params.Finetune.model_validate(plain | changes)


def example(seed, length, answer):
    ids = np.random.default_rng(seed).integers(4, 12, length).astype(np.int32)
    return Example(ids, np.arange(length) >= length - answer)


SAMPLES = [example(seed, 20 + 3 * seed % 17, 2 + seed % 5) for seed in range(9)]
VALIDATION = [example(100 + seed, 15 + 7 * seed, 3) for seed in range(5)]


def finetune(base_model, samples=SAMPLES, validation=VALIDATION, seed=0, **changes):
    how = settings(**changes)
    tuned = model.attach(model.load(base_model, how.dtype), how.lora, seed)
    found = []
    tokenizer = model.load_tokenizer(base_model)
    train.finetune(tuned, tokenizer, samples, validation, how, seed, found.append)
    return found


@pytest.fixture(scope="module")
def plain(base_model):
    return finetune(base_model)


def test_the_loss_is_measured_at_step_0_at_the_cadence_and_at_the_end(base_model, plain):
    assert [one.step for one in plain] == [0, 2, 4, 6]
    assert [one.step for one in finetune(base_model, eval_every=4)] == [0, 4, 6]


def test_training_lowers_both_losses(plain):
    assert math.isnan(plain[0].train_loss)
    assert plain[-1].train_loss < plain[1].train_loss
    assert plain[-1].val_loss < plain[0].val_loss - 0.1


def test_the_same_seed_gives_the_same_history_to_the_last_bit(base_model, plain):
    again = finetune(base_model)
    assert [one.val_loss for one in again] == [one.val_loss for one in plain]
    assert all((a.losses == b.losses).all() for a, b in zip(again, plain, strict=True))


def test_the_micro_batch_does_not_change_the_training(base_model, plain):
    whole = finetune(base_model, micro_batch=4)
    np.testing.assert_allclose(
        [one.val_loss for one in whole], [one.val_loss for one in plain], rtol=1e-4
    )
    np.testing.assert_allclose(whole[-1].train_loss, plain[-1].train_loss, rtol=1e-4)


def test_the_first_train_loss_is_that_of_the_first_samples_token_by_token(base_model):
    found = finetune(base_model, steps=1, eval_every=1)
    base = model.load(base_model, "float32")
    losses = train.prompt_losses(base, SAMPLES[:4], 4, done=lambda _: None)
    tokens = sum(one.trained_tokens for one in SAMPLES[:4])
    assert found[-1].train_loss == pytest.approx(losses.sum() / tokens, rel=1e-4)
    assert found[-1].answer_tokens == tokens


def test_samples_come_again_when_they_are_used_up(plain):
    answers = [one.trained_tokens for one in SAMPLES]
    expected = sum((answers * 3)[: STEPS * 4])
    assert plain[-1].answer_tokens == expected
    assert plain[-1].samples == STEPS * 4


def test_the_learning_rate_rises_in_the_warmup_and_then_falls_to_the_end(base_model):
    found = finetune(base_model, schedule="linear", warmup=0.5, eval_every=1)
    rates = [one.learning_rate for one in found[1:]]
    assert np.argmax(rates) in (2, 3)
    assert rates[-1] < max(rates) / 2


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(base_model):
    tuned = model.attach(model.load(base_model, "float32"), lora(), 0)
    with torch.no_grad():
        next(one for name, one in tuned.named_parameters() if "lora_A" in name).fill_(1e38)
    with pytest.raises(ValueError, match="at step 1, samples 0-3; lower the learning rate"):
        train.finetune(
            tuned,
            model.load_tokenizer(base_model),
            SAMPLES,
            VALIDATION,
            settings(),
            0,
            lambda _: None,
        )


@pytest.mark.parametrize(
    ("samples", "validation", "message"),
    [
        pytest.param([], VALIDATION, "no training sample is short enough", id="no-samples"),
        pytest.param(SAMPLES, [], "no validation prompt is short enough", id="no-validation"),
    ],
)
def test_finetune_refuses_to_run_on_nothing(base_model, samples, validation, message):
    with pytest.raises(ValueError, match=message):
        finetune(base_model, samples, validation)
