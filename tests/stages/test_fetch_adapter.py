import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from arcmix.config import schema
from arcmix.ledger import form, records, store
from stages import fetch_adapter
from tests.repository import PARAMS, Repository, settings
from tests.rows import row, sealed, start_of


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Repository, dict[str, str]]:
    """A repository after three runs, and the names of two of their rows by revision."""
    found = Repository(tmp_path_factory.mktemp("trained") / "repository")
    rows = {"first": found.train("first")}
    found.commit("first")
    mix = row().mix | {"uses_validation_demonstrations": True}
    rows["later"] = found.train("later", "mini-arc", mix=mix)
    found.save("later")
    found.train("third", "train")
    return found, rows


class Run:
    """A run of the stage, in a temporary folder, on a given repository."""

    def __init__(self, folder: Path, repository: Path) -> None:
        self.folder = folder
        self.repository = repository
        self.values = YAML(typ="safe").load(PARAMS)
        self.values |= {"model": "tiny", "scale": "tiny"}
        self.digest: dict[str, str] = {}

    def __call__(self, adapter: str, **init: str) -> dict[str, Any]:
        """Run the stage and return the content of `start.json`."""
        plain = {"checkpoint": "last", "optimizer": "fresh"}
        self.values["init"] = plain | init | {"adapter": adapter}
        path = self.folder / "params.yaml"
        YAML().dump(self.values, path)
        out = self.folder / "new/initial"
        shutil.rmtree(out, ignore_errors=True)
        (self.folder / "model.json").write_text(json.dumps(self.digest))
        fetch_adapter.run(
            config=schema.load(path, fetch_adapter.Params),
            repository=self.repository,
            rows="results/ledger",
            adapter="data/adapter",
            base=self.folder / "model.json",
            out=out,
        )
        return json.loads((out / "start.json").read_text())

    def files(self) -> dict[str, str]:
        """Return the files that training starts from, with their texts."""
        folder = self.folder / "new/initial/adapter"
        return {
            str(path.relative_to(folder)): path.read_text()
            for path in folder.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def run(tmp_path: Path, trained: tuple[Repository, dict[str, str]]) -> Run:
    return Run(tmp_path, trained[0].folder)


@pytest.fixture
def rows(trained: tuple[Repository, dict[str, str]]) -> dict[str, str]:
    return trained[1]


def test_run_writes_no_adapter_if_init_adapter_is_none(tmp_path: Path, run: Run) -> None:
    run.repository = tmp_path / "no-repository"

    assert run("none") == {"adapter": "none"}
    assert [path.name for path in (tmp_path / "new/initial").iterdir()] == ["start.json"]


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_run_fetches_the_adapter_of_a_row(
    run: Run, rows: dict[str, str], caplog: pytest.LogCaptureFixture, checkpoint: str
) -> None:
    caplog.set_level(logging.INFO)

    start = run(rows["first"], checkpoint=checkpoint)

    assert start == {
        "adapter": rows["first"],
        "address": start["address"],
        "checkpoint": checkpoint,
        "optimizer": "fresh",
        "uses_validation_demonstrations": False,
    }
    assert re.fullmatch(r"[0-9a-f]{32}\.dir", start["address"])
    assert run.files()["weights"] == f"{checkpoint}/weights: first"
    assert "optimizer.safetensors" not in run.files()
    assert caplog.messages == [f"the {checkpoint} adapter of {rows['first']}, optimizer: fresh"]


def test_an_adapter_of_a_model_folder_needs_the_folder_as_it_was(
    run: Run, trained: tuple[Repository, dict[str, str]]
) -> None:
    repository, _ = trained
    stated = {"kind": "folder", "path": "models/mine"}
    name = repository.train(
        "folder", settings=settings() | {"model": stated | {"sha256": "a" * 64}}
    )
    run.values["models"]["tiny"] = stated
    run.digest = {"sha256": "a" * 64}
    assert run(name)["adapter"] == name
    run.digest = {"sha256": "b" * 64}
    with pytest.raises(ValueError, match=r"was trained with model .*aaa.*, but this run has .*bbb"):
        run(name)


def test_run_fetches_the_state_of_the_optimizer_on_request(run: Run, rows: dict[str, str]) -> None:
    fresh = run(rows["first"])
    without = run.files()
    state = run(rows["first"], optimizer="state")

    assert state == fresh | {"optimizer": "state"}
    added = {"optimizer.safetensors": "last/optimizer.safetensors: first"}
    assert run.files() == without | added


@pytest.mark.parametrize("revision", ["first", "later"])
def test_a_revision_and_the_row_of_its_run_give_the_same_start(
    run: Run, rows: dict[str, str], revision: str
) -> None:
    by_revision = run(revision)
    files = run.files()

    assert by_revision["adapter"] == rows[revision]
    assert files["weights"] == f"last/weights: {revision}"
    assert (run(rows[revision]), run.files()) == (by_revision, files)


@pytest.mark.parametrize("later", [False, True])
def test_the_use_of_validation_demonstrations_in_any_earlier_stage_is_recorded(
    run: Run, trained: tuple[Repository, dict[str, str]], rows: dict[str, str], later: bool
) -> None:
    repository, _ = trained
    assert run("later")["uses_validation_demonstrations"]
    ledger = repository.folder / "results/ledger"
    [first] = [one for one in records.read(ledger) if one.name == rows["first"]]
    start = start_of("mini-arc/0-0123456789ab") | {"uses_validation_demonstrations": later}
    second = sealed(first, dataset="second", start=start)
    path = records.write(ledger, second)

    found = run(second.name)

    shutil.rmtree(path.parent)
    assert found["uses_validation_demonstrations"] is later


def write_given(folder: Path, kind: str = "LORA") -> None:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": kind}))
    for name in ("adapter_model.safetensors", "optimizer.safetensors", "README.md"):
        (folder / name).write_text(name)


@pytest.mark.parametrize("reference", ["{}/mine/my adapter", "./mine/my adapter", "../own/mine"])
def test_run_takes_a_folder_of_peft_by_its_path_from_the_root_of_the_repository(
    tmp_path: Path, run: Run, reference: str
) -> None:
    run.repository = tmp_path / "own"
    folder = run.repository / reference.format(run.repository)
    write_given(folder)

    start = run(reference.format(run.repository))

    assert sorted(run.files()) == ["adapter_config.json", "adapter_model.safetensors"]
    address = store.address(tmp_path / "new/initial/adapter")
    assert start == {
        "adapter": f"folder {folder.name.replace(' ', '_')}",
        "address": address,
        "optimizer": "fresh",
        "uses_validation_demonstrations": None,
    }
    assert form.read_start(tmp_path / "new/initial/start.json") == start
    assert run(reference.format(run.repository), optimizer="state")["address"] != address
    assert run.files()["optimizer.safetensors"] == "optimizer.safetensors"


def test_another_content_of_the_folder_is_another_start(tmp_path: Path, run: Run) -> None:
    write_given(tmp_path / "mine")
    first = run(f"{tmp_path}/mine")
    (tmp_path / "mine/adapter_model.safetensors").write_text("other weights")
    assert run(f"{tmp_path}/mine")["address"] != first["address"]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("no", "no does not exist, so there is no adapter_config.json and no adapter_model"),
        (".", " has no adapter_config.json and no adapter_model.safetensors, but ['ia3', 'mine']"),
        ("ia3", "adapter_config.json is of peft_type 'IA3', and arcmix trains LORA"),
    ],
)
def test_a_folder_without_an_adapter_is_refused(
    tmp_path: Path, run: Run, reference: str, message: str
) -> None:
    write_given(tmp_path / "mine")
    write_given(tmp_path / "ia3", "IA3")
    with pytest.raises(ValueError, match=re.escape(message)):
        run(f"{tmp_path}/{reference}")


def test_the_error_for_an_unknown_name_lists_the_rows(run: Run, rows: dict[str, str]) -> None:
    typo = rows["first"][:-1]
    message = (
        rf"init.adapter is not a row of results/ledger: '{typo}' is not one of \['mini-arc/0-.*"
        rf"did you mean '{rows['first']}'\?;"
        rf" nor a revision or an experiment \(dvc exp list\): .*unknown Git revision '{typo}'"
    )
    with pytest.raises(ValueError, match=message):
        run(typo)


def test_run_refuses_a_revision_whose_run_has_no_row(
    run: Run, trained: tuple[Repository, dict[str, str]]
) -> None:
    repository, _ = trained
    ledger = repository.folder / "results/ledger"
    ledger.rename(ledger.with_name("aside"))
    repository.save("cut")
    ledger.with_name("aside").rename(ledger)

    with pytest.raises(
        ValueError, match=r"the revision 'cut' has no row of its adapter [0-9a-f]{32}\.dir in"
    ):
        run("cut")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (
            "model",
            "smollm2-135m",
            "with model {'heads': 2, .*}, but this run has {'kind': 'wheel', ",
        ),
        ("scales/tiny/prompt/format", "v1", "with prompt.format bare, but this run has v1;"),
        (
            "scales/tiny/prompt/encoder",
            ["minimal", "row_number"],
            re.escape("prompt.encoder ['minimal'], but this run has ['minimal', 'row_number'];"),
        ),
        ("partition/seed", 8, "with partition.seed 7, but this run has 8; choose a run with"),
        ("partition/tasks", 90, "with partition.tasks 100, but this run has 90;"),
        ("measure/part", "train", "with measure.part validation, but this run has train;"),
        ("measure/source", "mini-arc", "with measure.source arc-agi-1, but this run has mini-arc;"),
        ("audit/drop", "none", "with audit.drop leaks, but this run has none;"),
    ],
)
def test_run_refuses_an_adapter_that_does_not_fit(
    run: Run, rows: dict[str, str], place: str, value: object, message: str
) -> None:
    *steps, last = place.split("/")
    node = run.values
    for step in steps:
        node = node[step]
    node[last] = value

    with pytest.raises(ValueError, match=f"init.adapter: {rows['first']} was .*{message}"):
        run(rows["first"])


def test_measured_tasks_may_differ_if_no_leaks_are_dropped(
    run: Run, trained: tuple[Repository, dict[str, str]]
) -> None:
    repository, _ = trained
    name = repository.train("knowing", "eval", settings=settings() | {"audit": {"drop": "none"}})
    run.values["audit"]["drop"] = "none"
    run.values["measure"]["part"] = "train"

    assert run(name)["adapter"] == name


def test_the_error_for_a_missing_adapter_has_the_command_that_repeats_its_run(
    run: Run, trained: tuple[Repository, dict[str, str]]
) -> None:
    repository, _ = trained
    name = repository.train("gone", "arc-1d", adapter=f"{'0' * 32}.dir")
    message = (
        rf"the adapter of {name} is missing: 0+\.dir is not in the DVC cache of .*; if the run was"
        rf" made elsewhere, remove .*/results/ledger/{name}\.json\. Then repeat its run"
        r" with the command that make adapters prints, or start with a new adapter:"
        r" -S init\.adapter=none$"
    )
    with pytest.raises(ValueError, match=message):
        run(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adapter": None}, "adapter: Input should be a valid string, got None; remove the file"),
        ({"adapter": "../../../x/tree.dir"}, "adapter: String should match pattern"),
        ({"version": 1}, "has another format; remove the file and repeat its run"),
        ({"settings": {}}, "settings, partition: Field required"),
        ({"dataset": "other"}, "holds the row other/0-"),
    ],
)
def test_run_refuses_a_wrong_row(
    run: Run,
    trained: tuple[Repository, dict[str, str]],
    rows: dict[str, str],
    change: dict[str, object],
    message: str,
) -> None:
    path = trained[0].folder / f"results/ledger/{rows['first']}.json"
    text = path.read_text()
    path.write_text(json.dumps(json.loads(text) | change))
    try:
        with pytest.raises(ValueError, match=f"{path.name}: {message}"):
            run(rows["first"])
    finally:
        path.write_text(text)
    assert not (run.folder / "new").exists()


def test_run_refuses_to_load_an_optimizer_state_that_was_not_saved(
    run: Run, trained: tuple[Repository, dict[str, str]]
) -> None:
    repository, _ = trained
    name = repository.train("bare", "concept-arc", without=("last/optimizer.safetensors",))
    with pytest.raises(ValueError, match=f"{name} has no state of its optimizer; set"):
        run(name, optimizer="state")
