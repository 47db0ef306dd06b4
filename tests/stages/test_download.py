import json
import logging
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from arcmix import parsing, program, tasks
from arcmix.config import origins, schema
from arcmix.sources import counting
from stages import download
from tests.arc import component
from tests.archives import COMMIT, FILE, entry, mirror, task
from tests.sources.test_counting import source

ROOT = Path(__file__).parents[2]
REAL = os.environ.get(download.MIRROR)
HOSTILE = ("download@x; touch pwned #", "download@../../x", "download@/x", "download@$(x)")
"""Names of stages, as DVC makes them of the names of sources."""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the mirror from the parameters alone, whoever runs the tests."""
    monkeypatch.delenv(download.MIRROR, raising=False)


def config(source: schema.Section, place: Path | str, *, dataset: str = "mini") -> download.Params:
    values = {
        "mirror": str(place),
        "partition_source": "arc",
        "measured_source": "concepts",
        "dataset": {dataset: component(dataset)},
        "source": source.model_dump(),
    }
    return download.Params.model_validate_json(json.dumps(values))


def run(tmp_path: Path, given: download.Params, key: str = "mini") -> list[tasks.Task]:
    out = tmp_path / "tasks"
    named = program.Key(f"download@{key}")
    download.run(key=named, config=given, root=tmp_path, cache=tmp_path / "cache", out=out)
    return tasks.read(out / f"{key}.parquet")


def test_run_writes_the_tasks_of_an_archive(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    found = run(tmp_path, config(entry(), mirror(tmp_path / "mirror")))

    assert tasks.digest(found) == entry().digest
    assert [(task.split, task.id) for task in found] == [
        ("evaluation", "a"),
        ("training", "a"),
        ("training", "b"),
    ]
    assert {task.source for task in found} == {"mini"}
    path = tmp_path / "cache" / FILE
    assert caplog.messages == [f"mini: 3 tasks, 3 tests from {path}; rejected: none"]


def test_run_fetches_nothing_for_a_source_that_no_component_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    given = config(entry(), tmp_path / "nowhere", dataset="new-train")

    assert run(tmp_path, given) == []
    assert caplog.messages == ["mini: not used in this run, so not fetched"]
    assert not (tmp_path / "cache").exists()


def test_run_fetches_what_is_split_and_what_is_measured_for_every_dataset(tmp_path: Path) -> None:
    given = config(entry(), mirror(tmp_path / "mirror"), dataset="new-train")

    assert len(run(tmp_path, given, key="arc")) == 3
    assert len(run(tmp_path, given, key="concepts")) == 3
    assert run(tmp_path, given) == []


def test_the_environment_wins_over_the_parameter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = config(entry(), tmp_path / "nowhere")
    with pytest.raises(OSError, match=f"from {tmp_path}/nowhere/{FILE}: .*No such file"):
        run(tmp_path, given)

    monkeypatch.setenv("ARCMIX_MIRROR", str(mirror(tmp_path / "mirror")))

    assert len(run(tmp_path, given)) == 3


@pytest.mark.parametrize(
    "place", ["https://me:S3CRET@host/arc", "https://S3CRET@host", "https://host/?token=S3CRET"]
)
def test_credentials_in_the_parameter_are_refused_because_dvc_would_write_them(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCMIX_MIRROR", str(mirror(tmp_path / "mirror")))
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps(schema.read(ROOT / "params.yaml") | {"mirror": place}))

    for key in ("mini-arc", "count"):
        with pytest.raises(ValueError, match="set the environment variable ARCMIX_MIR") as caught:
            schema.load(path, download.Params, key=key)
        assert "S3CRET" not in str(caught.value)


def test_a_refused_archive_leaves_the_table_as_it_was(tmp_path: Path) -> None:
    folder = mirror(tmp_path / "mirror")
    run(tmp_path, config(entry(), folder))
    before = (tmp_path / "tasks" / "mini.parquet").read_bytes()

    with pytest.raises(ValueError, match=f"digest {'0' * 64}; found"):
        run(tmp_path, config(entry(digest="0" * 64), folder))

    assert (tmp_path / "tasks" / "mini.parquet").read_bytes() == before
    assert [file.name for file in (tmp_path / "tasks").iterdir()] == ["mini.parquet"]


def test_run_keeps_the_group_that_a_folder_tells(tmp_path: Path) -> None:
    files = {"training": ("data/*/b.json",), "evaluation": ("data/hard/*.json",)}
    values = [("b", "training", None, task(2)), ("a", "evaluation", None, task(4))]
    digest = tasks.digest(parsing.parse(values, "mini", 30)[0])
    given = entry(files=files, tasks=2, tests=2, digest=digest)

    found = run(tmp_path, config(given, mirror(tmp_path / "mirror")))

    assert [(one.id, one.group) for one in found] == [("a", None), ("b", "easy")]


def test_run_executes_generators_of_the_pinned_wheel_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    given = {"kind": "generator", "seed": 0, "variations": 2, "examples": 2, "max_side": 9}
    source = origins.GeneratorSource.model_validate(given | {"tasks": 2, "pin": None})

    with pytest.raises(
        OSError, match=r"^no wheel of reasoning-gym==0\.1\.25: it is not in the cache"
    ):
        run(tmp_path, config(source, "github"))

    other = given | {"tasks": 2, "pin": None, "requirement": "toy-gym==1.0", "sha256": "0" * 64}
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        origins.GeneratorSource.model_validate(other)


def test_run_draws_grids_to_count_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    found = run(tmp_path, config(source(tasks=9), "github"))

    assert [(len(task.train), len(task.test)) for task in found] == [(0, 1)] * 9
    assert caplog.messages == [
        f"mini: no pin for these settings; digest of tasks 9: {tasks.digest(found)}",
        "mini: 9 tasks, 9 tests from draws of seed 0; rejected: none",
    ]
    assert tasks.digest(found) == tasks.digest(counting.load("mini", source(tasks=9)).tasks)


def test_the_program_writes_the_same_bytes_again_and_says_one_line_per_error(
    tmp_path: Path,
) -> None:
    values = schema.read(ROOT / "params.yaml") | {
        "dataset": "mini-arc",
        "mirror": str(tmp_path / "mirror"),
    }
    values["sources"] = {"mini-arc": entry().model_dump()}
    (tmp_path / "params.yaml").write_text(json.dumps(values))
    command = [sys.executable, "-m", "stages.download", "--params", tmp_path / "params.yaml"]
    command += [
        "--key",
        "download@mini-arc",
        "--root",
        tmp_path,
        "--cache",
        tmp_path / "cache",
        "--out",
        tmp_path / "out",
    ]
    settings = os.environ | {"PYTHONPATH": "src"}

    def started() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=ROOT, env=settings, capture_output=True, text=True, check=False
        )

    refused = started()
    assert refused.returncode == 1
    assert refused.stderr.startswith("error in download: no archive of mini-arc: ")
    assert COMMIT in refused.stderr
    assert refused.stderr.count("\n") == 1

    mirror(tmp_path / "mirror")
    assert started().returncode == 0
    before = (tmp_path / "out/mini-arc.parquet").read_bytes()
    assert started().returncode == 0
    assert (tmp_path / "out/mini-arc.parquet").read_bytes() == before


@pytest.mark.parametrize("stage", ["", "download", "download@", *HOSTILE])
def test_a_key_that_is_no_name_is_refused(tmp_path: Path, stage: str) -> None:
    key = program.Key(stage)

    with pytest.raises(ValueError, match=r"params.yaml: key: a name starts with a letter and "):
        schema.load(ROOT / "params.yaml", download.Params, key=key)
    with pytest.raises(ValueError, match="a name starts with a letter and "):
        run(tmp_path, config(entry(), "nowhere"), key=key)

    assert [*tmp_path.iterdir()] == []


@pytest.mark.skipif(not REAL, reason="needs ARCMIX_MIRROR: a mirror of the real archives")
@pytest.mark.parametrize(
    ("key", "groups"),
    [
        ("arc-agi-1", {}),
        ("arc-agi-1-github", {}),
        ("arc-agi-2", {}),
        ("concept-arc", {10: 16}),
        ("mini-arc", {}),
        ("arc-1d", {50: 17, 51: 1}),
        ("tama", {100: 43, 98: 1, 94: 1, 80: 1, 63: 1, 45: 1, 31: 1, 23: 1}),
        ("diva", {100: 12}),
    ],
)
def test_the_real_sources_are_what_is_pinned(
    key: str, groups: dict[int, int], tmp_path: Path
) -> None:
    values = schema.read(ROOT / "params.yaml") | {"dataset": "only", "mirror": REAL}
    values["datasets"] = {"only": {key: {}}}
    (tmp_path / "params.yaml").write_text(json.dumps(values))
    given = schema.load(tmp_path / "params.yaml", download.Params, key=key)

    found = run(tmp_path, given, key=key)

    assert tasks.digest(found) == values["sources"][key]["digest"]
    sizes = Counter(task.group for task in found if task.group is not None)
    assert Counter(sizes.values()) == groups
