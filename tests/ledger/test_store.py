import re
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from arcmix.ledger import store
from tests.repository import Repository

PLACE = "data/adapter"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository with an earlier adapter at tag `first`, and with an experiment `later`."""
    found = Repository(tmp_path_factory.mktemp("trained") / "repository")
    (found.folder / "made").mkdir()
    found.commit("start")
    found.train("first")
    found.commit("first")
    found.train("later")
    found.save("later")
    found.train("present")
    return found


@pytest.fixture
def repository(trained: Repository, tmp_path: Path) -> Repository:
    """A copy of `trained`."""
    folder = tmp_path / "repository"
    shutil.copytree(trained.folder, folder, symlinks=True)
    copied = object.__new__(Repository)
    copied.folder = folder
    return copied


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_an_address_is_the_hash_in_dvc_lock(repository: Repository) -> None:
    lock = YAML(typ="safe").load(repository.folder / "dvc.lock")
    (output,) = lock["stages"]["finetune"]["outs"]

    assert store.address(repository.folder / PLACE) == output["md5"]


@pytest.mark.parametrize(("revision", "text"), [("first", "first"), ("later", "later")])
def test_fetch_copies_a_part_of_an_earlier_run(
    repository: Repository, tmp_path: Path, revision: str, text: str
) -> None:
    address = store.address_at(repository.folder, revision, PLACE)

    store.fetch(repository.folder, address, "last", tmp_path / "new/out")

    names = ("weights", "deeper/config", "optimizer.safetensors")
    expected = {name: f"last/{name}: {text}" for name in names}
    assert contents(tmp_path / "new/out") == expected
    assert contents(repository.folder / PLACE)["last/weights"] == "last/weights: present"


def test_texts_are_read_at_the_revision(repository: Repository) -> None:
    found = store.texts_at(repository.folder, "later", "results")

    (path,) = (repository.folder / "results").rglob("*.json")
    assert found.keys() == {str(path.relative_to(repository.folder / "results"))}
    (text,) = found.values()
    assert store.address_at(repository.folder, "later", PLACE) in text
    assert text != path.read_text()
    assert store.texts_at(repository.folder, "later", "nowhere") == {}


def test_an_unknown_revision_and_an_unknown_output_are_refused(repository: Repository) -> None:
    with pytest.raises(ValueError, match="unknown Git revision 'second'"):
        store.address_at(repository.folder, "second", PLACE)
    with pytest.raises(ValueError, match="unknown Git revision 'second'"):
        store.texts_at(repository.folder, "second", "results")
    with pytest.raises(ValueError, match="data/other"):
        store.address_at(repository.folder, "first", "data/other")


def test_a_revision_before_the_run_is_refused(repository: Repository) -> None:
    with pytest.raises(ValueError, match="no run has written data/adapter at revision 'start'"):
        store.address_at(repository.folder, "start", PLACE)


def test_fetch_refuses_an_unknown_part(repository: Repository, tmp_path: Path) -> None:
    address = store.address(repository.folder / PLACE)
    with pytest.raises(ValueError, match=r"has no 'worst', got \['best', 'last', 'prompt"):
        store.fetch(repository.folder, address, "worst", tmp_path / "out")


def test_fetch_names_a_missing_file(repository: Repository, tmp_path: Path) -> None:
    address = store.address(repository.folder / PLACE)
    gone = store.file_md5(str(repository.folder / PLACE / "last/weights"), store.localfs)
    repository.forget(str(gone))
    message = f"{address}/last/weights is not in the DVC cache of {repository.folder} and not"
    with pytest.raises(FileNotFoundError, match=re.escape(message)):
        store.fetch(repository.folder, address, "last", tmp_path / "out")
    store.fetch(repository.folder, address, "best", tmp_path / "out")

    repository.forget()
    with pytest.raises(FileNotFoundError, match=f"^{address} is not in the DVC cache of"):
        store.fetch(repository.folder, address, "last", tmp_path / "out")


def test_fetch_pulls_missing_files_from_a_remote(repository: Repository, tmp_path: Path) -> None:
    address = store.address(repository.folder / PLACE)
    repository.run("dvc", "remote", "add", "--default", "shelf", str(tmp_path / "shelf"))
    repository.run("dvc", "push", "--quiet")
    repository.forget()

    store.fetch(repository.folder, address, "best", tmp_path / "out")

    assert contents(tmp_path / "out") == {"weights": "best/weights: present"}


def test_fetch_refuses_a_folder_that_the_remote_does_not_have(
    repository: Repository, tmp_path: Path
) -> None:
    address = store.address(repository.folder / PLACE)
    repository.run("dvc", "remote", "add", "--default", "shelf", str(tmp_path / "shelf"))
    repository.forget()

    with pytest.raises(FileNotFoundError, match=f"^{address} is not in the DVC cache of"):
        store.fetch(repository.folder, address, "best", tmp_path / "out")
