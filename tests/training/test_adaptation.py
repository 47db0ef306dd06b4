import logging

import pytest

from arcmix import files, tasks
from arcmix.config import scales
from arcmix.models import adapters, pretrained
from arcmix.training import adaptation
from tests import tolerance
from tests.arc import pair, task
from tests.models.test_adapters import lora
from tests.sampling.test_augment import make
from tests.training.test_trainer import settings

FINETUNE = settings(max_tokens=150, lora=lora(rank=16, alpha=32))
TEST_TIME = {"steps": 20, "batch": 2, "learning_rate": 0.01, "eval_every": 5, "patience": 3}

ALIKE = task("0a", train=3)
KNOWN = tasks.Task("0b", "arc", "evaluation", 0, (pair(0), pair(0)), (pair(0),))
FEW = task("0c", train=1)


def run(base_model, adapter, validation, work, finetune=FINETUNE, together=0, **changes):
    # A copy may have a value that params.yaml may not, such as a learning rate without bounds.
    how = scales.TestTime.model_validate(TEST_TIME).model_copy(update=changes)
    whole = adaptation.Settings(
        make(), finetune, how, seed=0, adapter_seed=0, group_tokens=together
    )
    return adaptation.run(base_model, adapter, "last", validation, whole, work)


def weights(folder, name):
    return (folder / name / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def adapter(tmp_path_factory, base_model):
    """The folder of an untrained adapter."""
    folder = tmp_path_factory.mktemp("adapter")
    base = pretrained.load(base_model, FINETUNE.dtype)
    adapters.save(adapters.attach(base, FINETUNE, 0, []), folder / "last")
    prompt = scales.Prompt(format="bare", encoder=("minimal",))
    adapters.save_text(folder, pretrained.load_tokenizer(base_model), prompt)
    return folder


def test_the_rows_are_in_the_order_of_the_tasks_and_the_log_counts_them(
    tmp_path, base_model, adapter, caplog
):
    caplog.set_level(logging.INFO)
    found = run(base_model, adapter, [ALIKE, FEW, KNOWN], tmp_path)
    assert [(row["task"], row["status"]) for row in found] == [
        ("0a", "adapted"),
        ("0c", "skipped"),
        ("0b", "adapted"),
    ]
    assert ("arcmix.adapt", logging.INFO, "3 tasks: 2 adapted, 1 skipped") in caplog.record_tuples


def test_the_count_is_logged_as_a_warning_if_a_task_failed(tmp_path, base_model, adapter, caplog):
    run(base_model, adapter, [KNOWN], tmp_path, learning_rate=1e36)
    assert ("arcmix.adapt", logging.WARNING, "1 tasks: 1 failed") in caplog.record_tuples


def test_a_run_resumes_with_the_tasks_that_have_no_row(tmp_path, base_model, adapter):
    first = run(base_model, adapter, [KNOWN], tmp_path / "work")
    before = (tmp_path / "work/0b/adapter_model.safetensors").stat().st_mtime_ns
    again = run(base_model, adapter, [ALIKE, KNOWN], tmp_path / "work")
    # Even the seconds are equal, which another training would not repeat.
    assert again[1] == first[0]
    assert (tmp_path / "work/0b/adapter_model.safetensors").stat().st_mtime_ns == before
    whole = run(base_model, adapter, [ALIKE, KNOWN], tmp_path / "whole")
    for name in ("0a", "0b"):
        assert weights(tmp_path / "work", name) == weights(tmp_path / "whole", name)
    assert whole[0]["loss_after"] == again[0]["loss_after"]


def test_a_group_whose_rows_are_incomplete_trains_again_with_the_same_result(
    tmp_path, base_model, adapter
):
    group = FINETUNE.model_copy(update={"micro_tokens": 400})
    first = run(base_model, adapter, [ALIKE, FEW, KNOWN], tmp_path / "work", group, 400)
    assert [row["status"] for row in first] == ["adapted", "skipped", "adapted"]
    assert len({row["seconds"] for row in first}) == 1  # of the group, divided by its tasks
    expected = {name: weights(tmp_path / "work", name) for name in ("0a", "0b")}
    (tmp_path / "work/0b.json").unlink()
    again = run(base_model, adapter, [KNOWN, ALIKE, FEW], tmp_path / "work", group, 400)
    assert again[1:] == first[:2]
    assert again[0] | {"seconds": 0} == first[2] | {"seconds": 0}
    for name, found in expected.items():
        assert weights(tmp_path / "work", name) == found
    alone = run(base_model, adapter, [ALIKE], tmp_path / "alone", group, 400)
    within = tolerance.training("float32")
    assert first[0]["loss_before"] == tolerance.close(alone[0]["loss_before"], within)


def test_the_adapters_of_the_adapted_tasks_are_written_with_their_ids(
    tmp_path, base_model, adapter
):
    rows = run(base_model, adapter, [KNOWN, FEW], tmp_path / "work")
    adaptation.write_adapters(tmp_path / "out", rows, tmp_path / "work")
    assert files.read_json(tmp_path / "out/tasks.json") == ["0b"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"tasks.json", "0b"}
    assert weights(tmp_path / "out", "0b") == weights(tmp_path / "work", "0b")


def test_the_ids_are_an_empty_list_if_no_task_was_fine_tuned(tmp_path):
    adaptation.write_adapters(tmp_path / "out", [], None)
    assert files.read_json(tmp_path / "out/tasks.json") == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["tasks.json"]
