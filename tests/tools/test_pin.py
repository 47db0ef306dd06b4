import json
from pathlib import Path

import pytest

from arcmix.config import schema
from arcmix.sources import folder
from tests.archives import task
from tools import pin

PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository with two tasks of one's own and an entry for them in `params.yaml`."""
    (tmp_path / "own").mkdir()
    for name, color in (("a", 1), ("b", 2)):
        (tmp_path / f"own/{name}.json").write_text(json.dumps(task(color)))
    entry = "\nsources:\n  my-tasks: {kind: folder, path: own}\n"
    (tmp_path / "params.yaml").write_text(PARAMS.read_text().replace("\nsources:\n", entry))
    return tmp_path


def run(root: Path, source: str = "my-tasks") -> None:
    pin.run(file=root / "params.yaml", source=source, root=root, cache=root / "cache")


def test_the_entry_gets_the_pins_and_the_rest_of_the_file_stays(root: Path) -> None:
    before = (root / "params.yaml").read_text().splitlines()

    run(root)

    after = (root / "params.yaml").read_text().splitlines()
    entry = schema.read(root / "params.yaml")["sources"]["my-tasks"]
    assert (entry["path"], entry["tasks"], entry["tests"]) == ("own", 2, 2)
    assert len(entry["digest"]) == 64
    added = [line for line in after if line not in before]
    assert [line for line in before if line not in after] == [
        "  my-tasks: {kind: folder, path: own}"
    ]
    assert all("my-tasks" in line or "digest" in line or entry["digest"] in line for line in added)


def test_a_pinned_source_is_pinned_again_after_an_edit(root: Path) -> None:
    run(root)
    (root / "own/b.json").write_text(json.dumps(task(3)))
    with pytest.raises(ValueError, match=r"differs from the pins.*: make pin SOURCE=my-tasks$"):
        load(root)

    run(root)

    assert len(load(root)) == 2


def load(root: Path) -> list:
    values = schema.read(root / "params.yaml")["sources"]["my-tasks"]
    source = folder.origins.FolderSource.model_validate(values)
    return folder.load("my-tasks", source, root).tasks


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("mini-arc", "SOURCE: mini-arc is of kind archive, whose pins are in sources.mini-arc of"),
        ("my-task", "SOURCE: 'my-task' is not one of .*; did you mean 'my-tasks'?"),
    ],
)
def test_another_source_is_an_error_that_says_what_to_do(
    root: Path, source: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(root, source)
