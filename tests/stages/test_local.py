import json
import os
from pathlib import Path
from typing import Any

import pytest

from arcmix.config import schema
from arcmix.sources.archive import MIRROR
from stages import local
from tests.archives import COMMIT, FILE, FILES, mirror, task

PARAMS = Path(__file__).parents[2] / "params.yaml"
ARCHIVE = {
    "kind": "archive",
    "repository": "me/Mini",
    "commit": COMMIT,
    "files": FILES,
    "max_side": 30,
    "tasks": 3,
    "tests": 3,
    "digest": "0" * 64,
}
ADAPTER = {"adapter": "./my/adapter", "checkpoint": "last", "optimizer": "fresh"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MIRROR, raising=False)


def run(root: Path, **changes: Any) -> dict[str, dict[str, str]]:
    """Return the digests by the name of their file, for a run that trains on `own` and `mini`."""
    values = schema.read(PARAMS)
    values |= {"dataset": "mix", "model": "tiny", "mirror": "mirror"}
    values["datasets"]["mix"] = {"own": {}, "mini": {}}
    values["sources"] |= {"own": {"kind": "folder", "path": "own"}, "mini": ARCHIVE}
    values["models"]["local"] = {"kind": "folder", "path": "my/model"}
    (root / "params.yaml").write_text(json.dumps(values | changes))
    config = schema.load(root / "params.yaml", local.Params)
    local.run(config=config, root=root, out=root / "out")
    found = (root / "out").rglob("*.json")
    return {path.stem: json.loads(path.read_text()) for path in found}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository with a folder of tasks, a mirror and a model."""
    mirror(tmp_path / "mirror")
    (tmp_path / "own").mkdir()
    (tmp_path / "own/a.json").write_text(json.dumps(task(1)))
    (tmp_path / "my/model").mkdir(parents=True)
    (tmp_path / "my/adapter").mkdir()
    (tmp_path / "my/model/config.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("path", ["{}/my/adapter", "./my/adapter", "../{0.name}/my/adapter"])
def test_an_edit_of_an_adapter_made_elsewhere_changes_its_digest(root: Path, path: str) -> None:
    init = {"adapter": path.format(root), "checkpoint": "last", "optimizer": "fresh"}
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (root / "my/adapter" / name).write_text(name)
    first = run(root, init=init)["adapter"]
    assert run(root, init=init)["adapter"] == first != {}
    (root / "my/adapter/adapter_model.safetensors").write_text("other weights")
    assert run(root, init=init)["adapter"] != first
    assert run(root, init=init | {"adapter": "re-arc/0-0123456789ab"})["adapter"] == {}


def test_each_source_and_the_model_have_a_file(root: Path) -> None:
    found = run(root)

    assert found.keys() == {*schema.read(PARAMS)["sources"], "own", "mini", "model", "adapter"}
    assert {name for name, digest in found.items() if digest} == {"own", "mini"}


@pytest.mark.parametrize(
    ("changes", "name", "file"),
    [
        ({}, "own", "own/a.json"),
        ({}, "own", "own/b.jsonl"),
        ({}, "mini", f"mirror/{FILE}"),
        ({"model": "local"}, "model", "my/model/config.json"),
        ({"model": "local"}, "model", "my/model/tokenizer.json"),
        ({"init": ADAPTER}, "adapter", "my/adapter/adapter_config.json"),
    ],
)
def test_an_edit_of_a_local_file_changes_one_digest(
    root: Path, changes: dict[str, Any], name: str, file: str
) -> None:
    before = run(root, **changes)
    assert run(root, **changes) == before
    time = (root / "own/a.json").stat().st_mtime
    (root / file).write_text("edited")
    os.utime(root / file, (time, time))

    after = run(root, **changes)

    assert {one for one in after if after[one] != before[one]} == {name}


def test_what_the_run_does_not_read_does_not_matter(root: Path) -> None:
    before = run(root, dataset="train")
    (root / "own/a.json").unlink()
    (root / "mirror" / FILE).unlink()

    assert run(root, dataset="train") == before
    assert not any(before.values())


def test_the_measured_source_is_read(root: Path) -> None:
    found = run(root, dataset="train", measure={"source": "own", "part": "all"})

    assert {name for name, digest in found.items() if digest} == {"own"}


def test_the_mirror_of_the_environment_wins(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRROR, str(root / "mirror"))
    own = run(root, mirror="github")
    monkeypatch.delenv(MIRROR)

    assert own == run(root)
    assert run(root, mirror="github")["mini"] == {}
    assert run(root, mirror="https://host/arc")["mini"] == {}


def test_a_folder_that_does_not_exist_is_an_error_that_names_the_whole_path(root: Path) -> None:
    (root / "own/a.json").rename(root / "a.json")
    (root / "own").rmdir()
    with pytest.raises(OSError, match=f"sources.own.path: own is {root}/own, which does not exist"):
        run(root)
    missing = {"local": {"kind": "folder", "path": "my/other"}}
    with pytest.raises(OSError, match=f"my/other is {root}/my/other, which is no folder; giv"):
        run(root, dataset="train", model="local", models=missing)
