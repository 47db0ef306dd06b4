import json
import logging
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from arcmix.config import schema
from arcmix.ledger import records, store
from stages import record
from tests.arc import component

PARAMS = Path(__file__).parents[2] / "params.yaml"
METRICS = {
    "accuracy": 0.042,
    "best_val_loss": 0.67,
    "best_val_step": 30,
    "metrics_version": 3,
    "pass_n": 0.3,
    "selected_2": 0.1,
    "selected_2_high": 0.2,
    "selected_2_low": 0.05,
    "val_loss": 0.68,
    "val_loss_step_0": 0.99,
}
MIX = {
    "tasks": 800,
    "entries": 801,
    "samples": 3000,
    "uses_validation_demonstrations": True,
    "components": [
        {"table": "new-train", "tasks": 700, "entries": 701, "weight": 1, "digest": "aa"},
        {"table": "val-n-1", "tasks": 100, "entries": 100, "weight": 1, "digest": "bb"},
    ],
}


CURVE = "step,train_loss,val_loss,seconds_per_step\n0,,0.99,\n40,0.9,0.68,7.1\n"


class Run:
    """The files of a run, and the stage that adds it to the ledger."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("code", "c0de00000001\n")
        self.write("params.yaml", PARAMS.read_text())
        self.set("dataset", "combo-v2")
        self.set("model", "tiny")
        self.set("scale", "tiny")
        self.set("seed", 0)
        self.write("metrics.json", json.dumps(METRICS))
        self.write("mix.json", json.dumps(MIX))
        self.write("partition.json", json.dumps({"measured_digest": "cc"}))
        self.write("history.csv", CURVE)
        self.write("initial/start.json", json.dumps({"adapter": "none"}))
        self.write("adapter/last/weights", "0.5")
        self.write("tasks.csv", "task,tests,accuracy,val_loss\n00576224,1,0.5,\n12e45678,2,0,0.7\n")

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def set(self, place: str, value: object) -> None:
        """Set a value of params.yaml."""
        file = self.folder / "params.yaml"
        values = node = YAML(typ="safe").load(file)
        *steps, last = place.split(".")
        for step in steps:
            node = node[step]
        assert last in node
        node[last] = value
        YAML().dump(values, file)

    def enter(self, deposit: str = "ledger") -> list[records.Row]:
        record.run(
            config=schema.load(self.folder / "params.yaml", record.Params),
            run_code=self.folder / "code",
            metrics=self.folder / "metrics.json",
            tasks=self.folder / "tasks.csv",
            history=self.folder / "history.csv",
            mix=self.folder / "mix.json",
            partition=self.folder / "partition.json",
            initial=self.folder / "initial",
            adapter=self.folder / "adapter",
            rows=self.folder / "ledger",
            deposit=self.folder / deposit,
        )
        return records.read(self.folder / "ledger")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_run_writes_the_numbers_and_everything_that_made_them(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (row,) = run.enter()
    file = run.folder / f"ledger/combo-v2/0-{row.fingerprint}.json"
    assert (row.dataset, row.model, row.scale, row.seed) == ("combo-v2", "tiny", "tiny", 0)
    values = schema.resolve(schema.read(PARAMS))
    assert row.code == "c0de00000001"
    assert row.settings == {
        "partition": values["partition"],
        "measure": {"source": "arc-agi-1", "part": "validation"},
        "audit": values["audit"],
        "augment": values["augment"],
        "model": values["models"]["tiny"],
        "scale": values["scales"]["tiny"],
        "init_seed": "seed",
        "selection": values["selection"],
        "checkpoint": values["checkpoint"],
        "metrics_version": 3,
        "validation_digest": "cc",
    }
    assert row.components == [component("new-train"), component("val-n-1")]
    assert row.mix == MIX
    assert row.start == {"adapter": "none"}
    assert row.adapter == store.address(run.folder / "adapter")
    assert row.metrics == METRICS
    assert row.history == [
        {"step": 0, "train_loss": None, "val_loss": 0.99},
        {"step": 40, "train_loss": 0.9, "val_loss": 0.68},
    ]
    assert row.tasks == {
        "00576224": {"tests": 1, "accuracy": 0.5, "val_loss": None},
        "12e45678": {"tests": 2, "accuracy": 0.0, "val_loss": 0.7},
    }
    assert row.packages.keys() == {"peft", "torch", "transformers", "trl"}
    assert caplog.messages == [f"recorded {file}"]


def test_run_writes_equal_bytes_for_equal_results(run: Run) -> None:
    run.enter()
    (file,) = run.folder.glob("ledger/*/*.json")
    before = file.read_bytes()
    run.enter()
    assert [path.read_bytes() for path in run.folder.glob("ledger/*/*.json")] == [before]


def test_run_keeps_the_rows_of_other_seeds_and_datasets(run: Run) -> None:
    run.enter()
    run.set("seed", 3)
    run.enter()
    run.set("dataset", "arc-1d")
    part = {"table": "arc-1d", "tasks": 901, "entries": 901, "weight": 1, "digest": "cc"}
    run.write("mix.json", json.dumps(MIX | {"components": [part]}))
    rows = run.enter()
    assert [(row.dataset, row.seed) for row in rows] == [
        ("arc-1d", 3),
        ("combo-v2", 0),
        ("combo-v2", 3),
    ]


@pytest.mark.parametrize(
    ("place", "value"),
    [("seed", 5), ("mirror", "/mnt"), ("scales.paper.finetune.budget", 7)],
)
def test_repeats_share_a_fingerprint(run: Run, place: str, value: object) -> None:
    (before,) = run.enter()
    run.set(place, value)
    assert {row.fingerprint for row in run.enter()} == {before.fingerprint}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("scales.tiny.finetune.budget", 7),
        ("models.tiny.seed", 1),
        ("augment.color_swaps", 9),
        ("partition.seed", 8),
        ("measure.part", "train"),
        ("audit.drop", "none"),
        ("selection", "best"),
        ("checkpoint", "best"),
        ("finetune.weight_decay", 0.5),
    ],
)
def test_other_settings_have_another_fingerprint(run: Run, place: str, value: object) -> None:
    (before,) = run.enter()
    run.set(place, value)
    (after,) = (row for row in run.enter() if row.fingerprint != before.fingerprint)
    assert after.settings_fingerprint != before.settings_fingerprint
    assert after.code == before.code


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("mix.json", json.dumps(MIX).replace("aa", "ab"), id="tasks"),
        pytest.param("code", "c0de00000002\n", id="code"),
    ],
)
def test_other_tasks_and_code_have_another_fingerprint(run: Run, name: str, text: str) -> None:
    (before,) = run.enter()
    run.write(name, text)
    (after,) = (row for row in run.enter() if row.fingerprint != before.fingerprint)
    assert after.settings_fingerprint == before.settings_fingerprint
    assert (after.code != before.code) == (name == "code")


def test_another_start_is_a_comparable_experiment(run: Run) -> None:
    (before,) = run.enter()
    start = {"adapter": "re-arc/0-123", "address": "aa.dir", "optimizer": "fresh"}
    run.write("initial/start.json", json.dumps(start))
    (after,) = (row for row in run.enter() if row.fingerprint != before.fingerprint)
    assert after.start == start
    assert after.settings_fingerprint == before.settings_fingerprint
    run.write("initial/start.json", json.dumps(start | {"optimizer": "state"}))
    assert len(run.enter()) == 3


def test_another_adapter_changes_only_the_address_in_a_row(run: Run) -> None:
    (before,) = run.enter()
    run.write("adapter/last/weights", "0.25")
    (after,) = run.enter()
    assert after.fingerprint == before.fingerprint
    assert after.adapter != before.adapter


def test_other_validation_tasks_are_other_settings(run: Run) -> None:
    (before,) = run.enter()
    run.write("partition.json", json.dumps({"measured_digest": "cd"}))
    (after,) = (row for row in run.enter() if row.fingerprint != before.fingerprint)
    assert after.settings_fingerprint != before.settings_fingerprint


def test_other_definitions_of_the_metrics_are_other_settings(run: Run) -> None:
    (before,) = run.enter()
    run.write("metrics.json", json.dumps(METRICS | {"metrics_version": 4}))
    (after,) = (row for row in run.enter() if row.fingerprint != before.fingerprint)
    assert after.settings_fingerprint != before.settings_fingerprint


def test_another_definition_of_the_dataset_has_another_fingerprint(run: Run) -> None:
    (before,) = run.enter()
    run.set("component.per_test", True)
    (after,) = (row for row in run.enter() if row.fingerprint != before.fingerprint)
    assert after.settings_fingerprint == before.settings_fingerprint


def test_run_writes_its_row_also_to_the_repository_that_queued_it(run: Run) -> None:
    origin = run.folder / "origin/results/ledger"
    earlier = run.enter(deposit="origin/results/ledger")
    run.set("seed", 1)
    run.write("metrics.json", json.dumps(METRICS | {"accuracy": 0.5}))
    later = run.enter(deposit="origin/results/ledger")
    assert records.read(origin) == later
    assert later[0] == earlier[0]
    assert later[1].metrics["accuracy"] == 0.5


def test_run_refuses_samples_of_another_dataset(run: Run) -> None:
    run.set("dataset", "train")
    message = r"were drawn from \[\('new-train', 1\), .*'train' is \[\('train', 1\)\]; both must"
    with pytest.raises(ValueError, match=message):
        run.enter()
    assert not (run.folder / "ledger").exists()
