import importlib.metadata
import json
import logging
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from arcmix import files, machines, tasks
from arcmix.ledger import store
from arcmix.models import numerics, pretrained
from arcmix.prediction import candidates, scores
from arcmix.sampling import augment, sample_table
from arcmix.sources import counting
from arcmix.text import fastpath, tokenization
from arcmix.text.encode import Encoder
from arcmix.training import history
from stages import finetune as stage
from tests import predicting, tolerance
from tests.arc import mixed, task
from tests.models.test_adapters import lora
from tests.sampling.test_augment import make
from tests.sources.test_counting import source
from tests.training.test_trainer import settings

PROMPT = {"format": "bare", "encoder": ("minimal",)}
KNOWN, LONG = task("known", train=2), task("long", train=9)


def run(
    tmp_path,
    base_model,
    *,
    max_tokens=150,
    max_val_tokens=150,
    prompt=PROMPT,
    entries=(KNOWN, LONG),
    initial=None,
    code="c0de00000001",
    **changes,
):
    """Fine-tune on a short and a long task, or on other entries, and validate on both tasks."""
    files.write_text(tmp_path / "code", f"{code}\n")
    tasks.write(tmp_path / "validation.parquet", [KNOWN, LONG])
    if initial is None:
        initial = tmp_path / "initial"
        files.write_json(initial / "start.json", {"adapter": "none"})
    slots = np.arange(len(entries))
    drawn = augment.draw(augment.pool(entries), slots, make(), 0, 0, 10)
    sample_table.write(tmp_path / "samples.parquet", iter([drawn]))
    files.write_json(tmp_path / "mix.json", mixed("all", len(entries)))
    stage.run(
        config=stage.Params.model_validate(
            {
                "seed": 0,
                "init_seed": "seed",
                "report_to": "none",
                "prompt": prompt,
                "finetune": settings(max_tokens=max_tokens, **changes),
                "max_val_tokens": max_val_tokens,
            }
        ),
        code=tmp_path / "code",
        base_model=base_model,
        initial=initial,
        samples=tmp_path / "samples.parquet",
        mix_file=tmp_path / "mix.json",
        validation=tmp_path / "validation.parquet",
        checkpoints=tmp_path / "checkpoints",
        tracking=tmp_path / "tracking",
        adapter=tmp_path / "adapter",
        losses=tmp_path / "losses.parquet",
        history=tmp_path / "history.csv",
        summary=tmp_path / "training.json",
        machine=tmp_path / "machine.json",
    )


def adapted(folder):
    """Return the folder of stage `adapt` with no adapted tasks."""
    files.write_json(folder / "adapted/tasks.json", [])
    return folder / "adapted"


@pytest.fixture(scope="module")
def memorized(tmp_path_factory, base_model):
    folder = tmp_path_factory.mktemp("memorized")
    run(
        folder,
        base_model,
        budget=60,
        eval_every=30,
        learning_rate=0.01,
        lora=lora(rank=16, alpha=32),
    )
    return folder


def test_run_writes_the_adapters_the_tokenizer_and_the_prompt(memorized):
    assert {path.name for path in memorized.iterdir()} == {
        "adapter",
        "checkpoints",
        "code",
        "history.csv",
        "initial",
        "losses.parquet",
        "machine.json",
        "mix.json",
        "samples.parquet",
        "training.json",
        "validation.parquet",
    }
    adapter = memorized / "adapter"
    assert {path.name for path in adapter.iterdir()} == {
        "best",
        "last",
        "prompt.json",
        "tokenizer",
    }
    assert json.loads((adapter / "prompt.json").read_text()) == {
        "format": "bare",
        "encoder": ["minimal"],
    }


def test_the_machine_is_the_present_one(memorized):
    assert machines.read(memorized / "machine.json") == numerics.machine()


def test_the_history_and_the_losses_are_of_the_same_prompts(memorized):
    history = pd.read_csv(memorized / "history.csv")
    losses = pd.read_parquet(memorized / "losses.parquet")
    assert history.step.tolist() == [0, 30, 60]
    assert history.train_loss.isna().tolist() == [True, False, False]
    assert set(losses.task) == {"known"}  # the other prompt is too long
    nll, tokens = (
        losses[name].to_numpy(float).reshape(3, -1).sum(axis=1) for name in ("nll", "tokens")
    )
    expected = tolerance.close(history.val_loss.tolist(), tolerance.forward("float32"))
    assert (nll / tokens).tolist() == expected
    assert history.val_loss.iloc[-1] < 0.1 < history.val_loss.iloc[0]


def test_a_memorized_task_is_solved_and_a_long_one_is_not_answered(tmp_path, memorized, base_model):
    predicting.run(tmp_path, base_model, memorized, adapted(tmp_path), views=3)
    found = pd.read_parquet(tmp_path / "candidates.parquet")
    assert found[["task", "test", "view"]].to_numpy().tolist() == [
        [name, 0, view] for name in ("known", "long") for view in range(3)
    ]
    first = found.iloc[0]
    truth = KNOWN.test[0].output
    assert (first.height, first.width) == truth.shape
    assert first.grid.tolist() == truth.reshape(-1).tolist()
    assert first.tokens == truth.size + truth.shape[0]
    assert found.grid[found.task == "long"].isna().all()
    answers = candidates.read(tmp_path / "candidates.parquet", [("known", 0), ("long", 0)], 3)
    assert [answer.ended for answer in answers["long", 0]] == [False] * 3
    scored = scores.read(tmp_path / "scores.parquet", answers)
    assert scored == {("known", 0): {}, ("long", 0): {}}


def test_added_tokens_are_trained_saved_and_used_in_answers(tmp_path, base_model):
    prompt = {"format": "bare", "encoder": ("tokens",)}
    run(
        tmp_path,
        base_model,
        prompt=prompt,
        budget=60,
        eval_every=60,
        learning_rate=0.01,
        lora=lora(rank=16, alpha=32),
    )
    predicting.run(tmp_path, base_model, tmp_path, adapted(tmp_path), views=1)
    truth = KNOWN.test[0].output
    first = pd.read_parquet(tmp_path / "candidates.parquet").iloc[0]
    assert first.grid.tolist() == truth.reshape(-1).tolist()
    # One token per cell, as in minimal grids.
    assert first.tokens == truth.size + truth.shape[0]


def test_the_best_adapter_has_the_lowest_validation_loss(tmp_path, memorized, base_model):
    # This learning rate destroys the adapter, so the best one is the initial one.
    start = tmp_path / "initial"
    shutil.copytree(memorized / "adapter" / "last", start / "adapter")
    (start / "adapter" / "optimizer.safetensors").unlink()
    run(
        tmp_path,
        base_model,
        initial=start,
        budget=2,
        learning_rate=1.0,
        max_grad_norm=1e9,
        lora=lora(rank=16, alpha=32),
    )
    history = pd.read_csv(tmp_path / "history.csv")
    assert history.val_loss.idxmin() == 0
    best, last = (
        (tmp_path / f"adapter/{name}/adapter_model.safetensors").read_bytes()
        for name in ("best", "last")
    )
    assert best != last


@pytest.mark.parametrize("format_", ["bare", "v1"])
def test_grids_with_counting_questions_are_trained_among_the_tasks(tmp_path, base_model, format_):
    prompt = {"format": format_, "encoder": ("minimal",)}
    grids = counting.load("count", source(tasks=2, max_side=4)).tasks
    entries = (KNOWN, *grids)
    run(
        tmp_path,
        base_model,
        max_tokens=2000,
        max_val_tokens=2000,
        prompt=prompt,
        entries=entries,
        budget=2,
    )

    tokenizer = pretrained.load_tokenizer(base_model)
    style = tokenization.style(tokenizer, format_, Encoder(("minimal",)), "answer")
    [drawn] = sample_table.read_chunks(tmp_path / "samples.parquet", 10)
    eight = sample_table.select(drawn, np.arange(10) < 8)
    trained = [one.trained_tokens for one in fastpath.as_texts(tokenizer, style, eight)]
    history = pd.read_csv(tmp_path / "history.csv")
    assert history["samples"].tolist() == [0, 8]
    assert history["answer_tokens"].iloc[-1] == sum(trained)
    assert (eight.asked > 0).sum() >= 4


@pytest.mark.parametrize(("too_long", "kept"), [("skip", 5), ("shorten", 10)])
def test_long_samples_are_skipped_or_shortened_and_validation_prompts_are_not(
    tmp_path, base_model, caplog, too_long, kept
):
    caplog.set_level(logging.INFO)
    run(tmp_path, base_model, too_long=too_long, budget=1, batch=10)
    assert f"{kept} training samples of at most 150 tokens among the first 10" in caplog.messages
    assert set(pd.read_parquet(tmp_path / "losses.parquet").task) == {"known"}


def test_run_refuses_a_limit_that_no_sample_meets(tmp_path, base_model):
    with pytest.raises(ValueError, match="no training sample is short enough"):
        run(tmp_path, base_model, max_tokens=20, too_long="shorten")


def test_a_second_stage_continues_the_first_with_its_own_learning_rate(tmp_path, base_model):
    first, second, fresh = (tmp_path / name for name in ("first", "second", "fresh"))
    for folder in (first, second, fresh):
        folder.mkdir()
    run(first, base_model, budget=6)
    last = first / "adapter" / "last"
    losses = {}
    for folder in (second, fresh):
        start = folder / "initial" / "adapter"
        shutil.copytree(last, start)
        if folder == fresh:
            (start / "optimizer.safetensors").unlink()
        run(folder, base_model, initial=folder / "initial", budget=2, learning_rate=0.003)
        losses[folder] = pd.read_csv(folder / "history.csv")
        assert losses[folder].learning_rate.tolist() == [0, 0.003]

    ended = pd.read_csv(first / "history.csv").val_loss.iloc[-1]
    assert losses[second].val_loss[0] == losses[fresh].val_loss[0]
    assert losses[second].val_loss[0] == tolerance.close(ended, tolerance.forward("float32"))
    # The moments of the first stage's optimizer change the steps.
    assert losses[second].val_loss[1] != losses[fresh].val_loss[1]


def test_a_run_that_failed_after_its_last_step_does_not_train_again(tmp_path, base_model):
    (tmp_path / "adapter").write_text("in the way")
    with pytest.raises(OSError, match="adapter"):
        run(tmp_path, base_model, budget=2)
    before = (tmp_path / "history.csv").read_text()
    for name in ("adapter", "history.csv"):
        (tmp_path / name).unlink()

    run(tmp_path, base_model, budget=2)

    # Even the speeds are equal, which another training would not repeat.
    assert (tmp_path / "history.csv").read_text() == before


def test_other_code_does_not_resume_a_failed_run(tmp_path, base_model):
    (tmp_path / "adapter").write_text("in the way")
    with pytest.raises(OSError, match="adapter"):
        run(tmp_path, base_model, budget=2)
    before = (tmp_path / "history.csv").read_text()
    (tmp_path / "adapter").unlink()

    run(tmp_path, base_model, budget=2, code="c0de00000002")

    assert (tmp_path / "history.csv").read_text() != before
    assert len([*(tmp_path / "checkpoints").glob("[!.]*")]) == 2


@pytest.fixture(scope="module")
def short(tmp_path_factory, base_model):
    """The folder of a run with checkpoints at steps 2 and 4."""
    folder = tmp_path_factory.mktemp("short")
    run(folder, base_model, budget=4)
    return folder


@pytest.mark.parametrize(
    ("damaged", "resumed"),
    [
        ("checkpoint-4/optimizer.pt", "checkpoint-2"),
        ("checkpoint-4/scheduler.pt", "checkpoint-2"),
        ("checkpoint-4/rng_state.pth", "checkpoint-2"),
        ("checkpoint-4/trainer_state.json", "checkpoint-2"),
        ("checkpoint-4/adapter_model.safetensors", "checkpoint-2"),
        ("checkpoint-4/measured.json", "checkpoint-2"),
        ("best-4/adapter_model.safetensors", "checkpoint-2"),
        ("*/adapter_model.safetensors", None),
    ],
)
@pytest.mark.parametrize("how", ["missing", "garbage"])
def test_a_run_whose_newest_checkpoint_is_damaged_has_the_same_result(
    tmp_path, base_model, caplog, short, damaged, resumed, how
):
    caplog.set_level(logging.INFO)
    shutil.copytree(short / "checkpoints", tmp_path / "checkpoints")
    [work] = (tmp_path / "checkpoints").glob("[!.]*")
    for path in work.glob(damaged):
        if how == "missing":
            path.unlink()
        else:
            path.write_bytes(bytes(range(256)))

    run(tmp_path, base_model, budget=4)

    places = [text.split()[-1] for text in caplog.messages if text.startswith("resuming at")]
    assert places == ([str(work / resumed)] if resumed else [])
    assert store.address(tmp_path / "adapter") == store.address(short / "adapter")
    assert (tmp_path / "losses.parquet").read_bytes() == (short / "losses.parquet").read_bytes()


@pytest.mark.parametrize(
    ("module", "name"), [(torch, "get_num_threads"), (importlib.metadata, "version")]
)
def test_a_run_on_other_hardware_or_with_other_libraries_starts_anew(
    tmp_path, base_model, monkeypatch, module, name
):
    run(tmp_path, base_model, budget=2)
    monkeypatch.setattr(module, name, lambda *_: 64)
    run(tmp_path, base_model, budget=2)
    assert len([*(tmp_path / "checkpoints").glob("[!.]*")]) == 2


def test_the_summary_has_the_effective_settings_and_the_samples_seen(memorized):
    found = json.loads((memorized / "training.json").read_text())
    assert found["trained"]["rank"] == [16]
    assert found["trained"]["trainable_dtypes"] == ["torch.float32"]
    assert (found["steps"], found["samples"]) == (60, 240)
    assert found["components"] == [{"table": "all", "samples": 240, "epochs": 120.0}]
    history = pd.read_csv(memorized / "history.csv")
    assert found["epochs"] == pytest.approx(history.epochs.iloc[-1], rel=1e-4)
    assert found["answer_tokens"] == history.answer_tokens.iloc[-1]


def test_without_a_budget_the_base_model_is_measured_and_nothing_is_trained(
    tmp_path, base_model, memorized
):
    run(tmp_path, base_model, budget=0, max_tokens=1)  # no sample is that short
    found = history.read(tmp_path / "history.csv")
    before = history.read(memorized / "history.csv")[0]
    assert [(one.step, one.train_loss) for one in found] == [(0, None)]
    assert found[0].val_loss == pytest.approx(before.val_loss, rel=tolerance.forward("float32"))
    summary = json.loads((tmp_path / "training.json").read_text())
    assert (summary["steps"], summary["samples"], summary["epochs"]) == (0, 0, 0)
    weights = [
        (tmp_path / "adapter" / name / "adapter_model.safetensors").read_bytes()
        for name in ("best", "last")
    ]
    assert weights[0] == weights[1]
    assert not (tmp_path / "adapter/last/optimizer.safetensors").exists()


def test_without_a_budget_the_whole_model_is_written_as_it_is(tmp_path, base_model):
    run(tmp_path, base_model, budget=0, method="full")
    before = pretrained.load(base_model, "float32").state_dict()
    after = pretrained.load(tmp_path / "adapter/last", "float32").state_dict()
    assert all(torch.equal(before[name], weight) for name, weight in after.items())


def test_without_a_budget_a_given_adapter_is_measured(tmp_path, base_model, memorized):
    initial = tmp_path / "initial"
    shutil.copytree(memorized / "adapter/last", initial / "adapter")
    how = {"budget": 0, "lora": lora(rank=16, alpha=32)}
    run(tmp_path, base_model, initial=initial, **how)
    (one,) = history.read(tmp_path / "history.csv")
    last = history.read(memorized / "history.csv")[-1]
    assert one.val_loss == pytest.approx(last.val_loss, rel=tolerance.forward("float32"))
