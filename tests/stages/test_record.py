import json
import logging
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from arcmix.config import schema
from arcmix.ledger import records, store
from arcmix.scoring import evaluation, metrics
from arcmix.training import history
from stages import record
from tests.answers import write_history
from tests.arc import component
from tests.rows import MACHINE, start_of

PARAMS = Path(__file__).parents[2] / "params.yaml"
METRICS = {
    "accuracy": 0.042,
    "best_val_loss": 0.67,
    "best_val_step": 30,
    "clean_tasks": 2,
    "metrics_version": metrics.VERSION,
    "pass_n": 0.3,
    "selected_2": 0.1,
    "selected_2_high": 0.2,
    "selected_2_low": 0.05,
    "val_loss": 0.68,
    "val_loss_step_0": 0.99,
    "answering_val_loss": 0.6,
    "answering_loss_per_cell": 0.8,
}


def part(table: str, digit: str, **counts: int) -> dict[str, Any]:
    """Return the counts of a component whose digest has one digit only."""
    return {"table": table, "weight": 1, "samples": 1500, "digest": digit * 64} | counts


MIX = {
    "tasks": 800,
    "entries": 801,
    "samples": 3000,
    "uses_validation_demonstrations": True,
    "components": [
        part("new-train", "a", tasks=700, entries=701),
        part("val-n-1", "b", tasks=100, entries=100),
    ],
}


TABLES = ("validation", "candidates", "scores", "losses", "answering-losses")
PIPELINE = "stages:\n  record: {cmd: record, deps: [code]}\n"
TASK = "00576224,1,1,0.5,0.5,0.5,1,0,1,0,,\n12e45678,2,0,0,0,0,0,0,0,1,0.7,0.8\n"


class Run:
    """The files of a run, and the stage that adds it to the ledger."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write(".dvc/config", "[core]\n    no_scm = true\n    analytics = false\n")
        self.write("dvc.yaml", PIPELINE)
        self.write("code", "c0de00000001\n")
        self.write("params.yaml", PARAMS.read_text())
        self.set("dataset", "combo-v2")
        self.set("model", "tiny")
        self.set("scale", "tiny")
        self.set("seed", 0)
        self.write("metrics.json", json.dumps(METRICS))
        self.write("mix.json", json.dumps(MIX))
        self.write("partition.json", json.dumps({"measured_digest": "c" * 64}))
        write_history(self.folder / "history.csv", {0: (None, 0.99), 40: (0.9, 0.68)})
        self.write("initial/start.json", json.dumps({"adapter": "none"}))
        self.write("model.json", "{}")
        self.write("adapter/last/weights", "0.5")
        columns = ",".join(field.name for field in fields(evaluation.TaskRow))
        self.write("tasks.csv", f"{columns}\n{TASK}")
        for table in TABLES:
            self.write(f"{table}.parquet", f"bytes of {table}")
        self.machine()

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def machine(self, **changes: Any) -> None:
        """Write the machine of each stage, with some fields changed."""
        for stage in ("adapt", "finetune", "predict"):
            self.write(f"machines/{stage}.json", json.dumps(MACHINE | changes))

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
            **{name.replace("-", "_"): self.folder / f"{name}.parquet" for name in TABLES},
            machine=self.folder / "machines",
            model=self.folder / "model.json",
            rows=self.folder / "ledger",
            deposit=self.folder / deposit,
            own=self.folder / "own",
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
        "metrics_version": metrics.VERSION,
        "validation_digest": "c" * 64,
    }
    assert row.components == [component("new-train"), component("val-n-1")]
    digest = values["sources"]["arc-agi-1"]["digest"]
    assert row.mix == MIX | {"sources": {"arc-agi-1": digest}}
    assert row.start == {"adapter": "none"}
    assert row.adapter == store.address(run.folder / "adapter")
    assert row.data == {name: store.address(run.folder / f"{name}.parquet") for name in TABLES}
    assert row.metrics == METRICS
    known = {name for name in history.COLUMNS if name not in records.SPEEDS}
    assert [entry.keys() for entry in row.history] == [known, known]
    shown = ("step", "train_loss", "val_loss")
    found = [tuple(entry[name] for name in shown) for entry in row.history]
    assert found == [(0, None, 0.99), (40, 0.9, 0.68)]
    assert [*row.tasks] == ["00576224", "12e45678"]
    shown = ("tests", "accuracy", "val_loss", "answering_loss_per_cell")
    found = [tuple(task[name] for name in shown) for task in row.tasks.values()]
    assert found == [(1, 0.5, None, None), (2, 0.0, 0.7, 0.8)]
    assert row.machines == dict.fromkeys(("adapt", "finetune", "predict"), MACHINE)
    assert caplog.messages == [f"recorded {file}"]


def test_an_edited_model_folder_is_another_experiment(run: Run) -> None:
    stated = {"kind": "folder", "path": "models/mine"}
    run.set("models.tiny", stated)
    run.write("model.json", json.dumps({"sha256": "a" * 64}))
    (first,) = run.enter()
    assert first.settings["model"] == stated | {"sha256": "a" * 64}
    run.write("model.json", json.dumps({"sha256": "b" * 64}))
    rows = run.enter()
    assert len(rows) == 2
    assert len({row.fingerprint for row in rows}) == 2
    assert len({row.settings_fingerprint for row in rows}) == 2  # two tables


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
    alone = part("arc-1d", "c", tasks=901, entries=901)
    run.write("mix.json", json.dumps(MIX | {"components": [alone]}))
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


def test_another_entry_of_a_section_changes_no_fingerprint(run: Run) -> None:
    (before,) = run.enter()
    values = YAML(typ="safe").load(run.folder / "params.yaml")
    for name in ("scales", "models", "datasets"):
        run.set(name, values[name] | {"added": {}})
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
        pytest.param("mix.json", json.dumps(MIX).replace("a" * 64, "e" * 64), id="tasks"),
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
    start = start_of("re-arc/0-0123456789ab")
    run.write("initial/start.json", json.dumps(start))
    (after,) = (row for row in run.enter() if row.fingerprint != before.fingerprint)
    assert after.start == start
    assert after.settings_fingerprint == before.settings_fingerprint
    run.write("initial/start.json", json.dumps(start | {"optimizer": "state"}))
    assert len(run.enter()) == 3


def test_a_run_with_other_numbers_keeps_the_row_and_says_so(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    before = run.enter()
    [path] = run.folder.glob("ledger/*/*.json")
    text = path.read_bytes()
    run.write("metrics.json", json.dumps(METRICS | {"best_val_loss": 0.5, "accuracy": 0.25}))
    run.write("adapter/last/weights", "0.25")
    run.machine(instructions="AVX2", threads=8)
    caplog.clear()
    assert run.enter() == before
    assert path.read_bytes() == text
    [message] = caplog.messages
    assert message == (
        f"kept combo-v2/{path.stem} of the ledger, because this run has other numbers: accuracy is"
        " 0.042, here 0.25 (and 1 more). The ledger's run: Xeon, AVX512, 2 threads, python 3.11.7,"
        " torch 2.13.0. This run: Xeon, AVX2, 8 threads, python 3.11.7, torch 2.13.0. To replace"
        " the row, remove its file, then run: dvc repro"
    )
    [own] = records.read(run.folder / "own")
    assert (own.name, own.metrics["best_val_loss"]) == (before[0].name, 0.5)

    path.unlink()
    assert run.enter() == [own]


def test_equal_numbers_of_another_machine_change_no_byte_of_the_row(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run.enter()
    [path] = run.folder.glob("ledger/*/*.json")
    text = path.read_bytes()
    run.machine(device="another")
    run.write("adapter/last/weights", "0.25")
    caplog.clear()
    run.enter()
    assert path.read_bytes() == text
    assert caplog.messages == [f"recorded {path}"]


def test_the_row_of_the_repository_that_queued_a_run_is_kept_too(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run.enter(deposit="origin")
    [path] = run.folder.glob("ledger/*/*.json")
    path.unlink()
    run.write("metrics.json", json.dumps(METRICS | {"accuracy": 0.5}))
    [row] = run.enter(deposit="origin")
    assert row.metrics["accuracy"] == 0.5
    [kept] = records.read(run.folder / "origin")
    assert kept.metrics["accuracy"] == METRICS["accuracy"]
    assert "kept combo-v2/" in caplog.messages[-1]


def test_run_refuses_numbers_that_other_values_made(run: Run) -> None:
    run.write(
        "dvc.yaml", f"{PIPELINE}  evaluate: {{cmd: 'true', params: [selection], outs: [code]}}"
    )
    with pytest.raises(ValueError, match=r"the stages \['evaluate'\] have other values or files"):
        run.enter()
    assert not (run.folder / "ledger").exists()


def test_other_validation_tasks_are_other_settings(run: Run) -> None:
    (before,) = run.enter()
    run.write("partition.json", json.dumps({"measured_digest": "d" * 64}))
    (after,) = (row for row in run.enter() if row.fingerprint != before.fingerprint)
    assert after.settings_fingerprint != before.settings_fingerprint


def test_other_definitions_of_the_metrics_are_other_settings(run: Run) -> None:
    (before,) = run.enter()
    run.write("metrics.json", json.dumps(METRICS | {"metrics_version": metrics.VERSION + 1}))
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
