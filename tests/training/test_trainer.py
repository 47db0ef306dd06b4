import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import TrainerCallback

from arcmix.config import scales
from arcmix.models import adapters, attention, pretrained
from arcmix.text.tokenization import Example
from arcmix.training import checkpoints, trainer
from arcmix.training.plan import Plan
from tests import tolerance
from tests.models.test_adapters import lora

STEPS = 6


def settings(**changes):
    plain = {
        "budget": STEPS,
        "unit": "steps",
        "batch": 4,
        "micro_tokens": 50,
        "max_tokens": 100,
        "too_long": "skip",
        "loss": "answer",
        "learning_rate": 0.02,
        "schedule": "constant",
        "cycles": 1,
        "warmup": 0.0,
        "optimizer": "adamw",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "dtype": "float32",
        "gradient_checkpointing": False,
        "eval_every": 2,
        "eval_tokens": 60,
        "method": "lora",
        "lora": lora(),
    }
    return scales.Finetune.model_validate(plain | changes)


def example(seed, length, answer):
    ids = np.random.default_rng(seed).integers(4, 12, length).astype(np.int32)
    return Example(ids, np.arange(length) >= length - answer)


SAMPLES = [example(seed, 20 + 3 * seed % 17, 2 + seed % 5) for seed in range(9)]
VALIDATION = [example(100 + seed, 15 + 7 * seed, 3) for seed in range(5)]


def finetune(
    base_model, samples=SAMPLES, validation=VALIDATION, seed=0, folder=None, stop=None, **changes
):
    """Return the measurements of a fine-tune that is interrupted at step `stop`, if given."""
    how = settings(**changes)
    one = adapters.attach(pretrained.load(base_model, how.dtype), how, seed, [])
    tokenizer = pretrained.load_tokenizer(base_model)
    plan = Plan(samples, validation, how, seed, "none", None)

    def report(found):
        if found[-1].step == stop:
            raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as place:
        work = Path(folder or place)
        found, _ = trainer.train(one, tokenizer, plan, work, checkpoints.newest(work), report)
    return found


@pytest.fixture(scope="module")
def plain(base_model):
    return finetune(base_model)


@pytest.mark.parametrize("padding", [None, "<|im_end|>", "<unk>"])
def test_the_padding_token_has_no_effect(tmp_path, base_model, plain, padding):
    folder = tmp_path / "model"
    shutil.copytree(base_model, folder)
    tokenizer = pretrained.load_tokenizer(base_model)
    tokenizer.pad_token = padding
    tokenizer.save_pretrained(folder)
    assert [one.val_loss for one in finetune(folder)] == [one.val_loss for one in plain]


def test_training_lowers_both_losses(plain):
    assert plain[0].train_loss is None
    assert plain[-1].train_loss < plain[1].train_loss
    assert plain[-1].val_loss < plain[0].val_loss - 0.1


def test_the_same_seed_gives_the_same_history_to_the_last_bit(base_model, plain):
    again = finetune(base_model)
    assert [one.val_loss for one in again] == [one.val_loss for one in plain]
    assert [one.losses for one in again] == [one.losses for one in plain]


@pytest.mark.parametrize("tokens", [1, 70, 500])
def test_packing_does_not_change_the_training(base_model, plain, tokens):
    whole = finetune(base_model, micro_tokens=tokens)
    within = tolerance.training("float32")
    assert [one.val_loss for one in whole] == tolerance.close(
        [one.val_loss for one in plain], within
    )
    assert whole[-1].train_loss == tolerance.close(plain[-1].train_loss, within)


def test_the_learning_rate_rises_during_the_warmup_and_then_decays(base_model):
    found = finetune(base_model, schedule="linear", warmup=0.5, eval_every=1)
    rates = [one.learning_rate for one in found[1:]]
    assert np.argmax(rates) in (2, 3)
    assert rates[-1] < max(rates) / 2


def test_float16_trains(base_model, plain):
    half = finetune(base_model, dtype="float16")
    within = tolerance.training("float16")
    assert half[-1].val_loss == tolerance.close(plain[-1].val_loss, within)
    assert half[-1].val_loss != plain[-1].val_loss


def test_a_tracker_that_is_not_installed_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"needs the package wandb.*; pip install wandb, or set"):
        trainer.prepare_tracker("wandb", tmp_path)


def test_a_tracker_writes_to_the_place_in_its_environment_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "elsewhere")
    trainer.prepare_tracker("tensorboard", tmp_path)
    assert os.environ["TENSORBOARD_LOGGING_DIR"] == "elsewhere"


def test_processes_that_split_the_weights_are_refused(base_model, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(
        ValueError, match="fsdp splits the weights over the processes, which is not supported"
    ):
        finetune(base_model)


@pytest.mark.parametrize(("stop", "dropout"), [(4, 0.0), (4, 0.3), (2, 0.0)])
def test_an_interrupted_run_resumes_and_has_the_same_result(tmp_path, base_model, stop, dropout):
    how = {"lora": lora(dropout=dropout), "schedule": "linear"}
    whole = finetune(base_model, **how)
    with pytest.raises(KeyboardInterrupt):
        finetune(base_model, folder=tmp_path, stop=stop, **how)
    # The interrupt comes before the checkpoint of this step, so the last one is earlier.
    kept = checkpoints.newest(tmp_path)
    assert (kept and int(kept.name.split("-")[1])) == (stop - 2 or None)

    again = finetune(base_model, folder=tmp_path, **how)

    assert [one.losses for one in again] == [one.losses for one in whole]
    assert [one.train_loss for one in again] == [one.train_loss for one in whole]
    assert [one.learning_rate for one in again] == [one.learning_rate for one in whole]


def test_a_budget_of_answer_tokens_takes_the_fewest_steps_that_reach_it(base_model, plain):
    tokens = plain[1].answer_tokens
    found = finetune(base_model, unit="answer_tokens", budget=tokens)
    assert [one.step for one in found] == [0, 2]
    more = finetune(base_model, unit="answer_tokens", budget=tokens + 1)
    assert [one.step for one in more] == [0, 2, 3]


class Reads(TorchDispatchMode):
    """Counts the numbers that the host reads from tensors."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.count += operation.name() == "aten::_local_scalar_dense"
        return operation(*args, **kwargs or {})


class Counted(TrainerCallback):
    """Counts what the host reads in each step, from its start to the clipped gradient."""

    def __init__(self):
        self.reads = []

    def on_step_begin(self, *_, **__):
        self.mode = Reads()
        self.mode.__enter__()

    def on_pre_optimizer_step(self, *_, **__):
        self.mode.__exit__(None, None, None)
        self.reads.append(self.mode.count)


@pytest.mark.parametrize(("name", "reads"), [(attention.NAME, 0), ("sdpa", 1)])
def test_the_host_reads_nothing_in_a_step_but_once_for_a_mask_of_a_row(
    tmp_path, base_model, name, reads
):
    how = settings(micro_tokens=200)
    base = pretrained.load(base_model, "float32")
    base.set_attn_implementation(name)
    one = adapters.attach(base, how, 0, [])
    seen = Counted()
    plan = Plan(SAMPLES, VALIDATION, how, 0, "none", None)
    trainer.trainer(one, pretrained.load_tokenizer(base_model), plan, tmp_path, seen).train()
    assert seen.reads == [reads] * STEPS


def test_a_row_of_a_step_that_does_not_fit_into_memory_names_the_value_to_lower(base_model):
    def check(module, _):
        if module.training:
            raise torch.OutOfMemoryError

    how = settings(micro_tokens=200)
    base = pretrained.load(base_model, "float32")
    base.register_forward_pre_hook(check)
    one = adapters.attach(base, how, 0, [])
    plan = Plan(SAMPLES, VALIDATION, how, 0, "none", None)
    tokenizer = pretrained.load_tokenizer(base_model)
    tokens = sum(len(sample.input_ids) for sample in SAMPLES[:4])
    message = rf"row of {tokens} tokens in 4 texts; set finetune.micro_tokens to {tokens // 2}$"
    with (
        tempfile.TemporaryDirectory() as place,
        pytest.raises(torch.OutOfMemoryError, match=message),
    ):
        trainer.train(one, tokenizer, plan, Path(place), None, lambda _: None)
