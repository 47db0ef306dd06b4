import hashlib
import json
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


def forged(repository: Repository, relpath: str, content: str = "0" * 32) -> str:
    """Add a folder with a file of some path to the cache, and return its address."""
    entries = [{"md5": content, "relpath": relpath}]
    text = json.dumps(entries, sort_keys=True).encode()
    name = hashlib.md5(text, usedforsecurity=False).hexdigest()
    path = repository.folder / f".dvc/cache/files/md5/{name[:2]}/{name[2:]}.dir"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text)
    return f"{name}.dir"


@pytest.mark.parametrize(
    "relpath",
    [
        "last/../../../escaped",
        "last/..",
        "/last/escaped",
        "last//escaped",
        "last/./escaped",
        "last\\..\\escaped",
        "last/C:escaped",
        "last/a\0b",
        "",
    ],
)
def test_fetch_refuses_a_path_out_of_the_folder(
    repository: Repository, tmp_path: Path, relpath: str
) -> None:
    known = str(store.file_md5(str(repository.folder / PLACE / "last/weights"), store.localfs))
    address = forged(repository, relpath, known)
    with pytest.raises(ValueError, match=r"\.dir: the path '.*' is not one in the folder; a path"):
        store.fetch(repository.folder, address, "last", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not [*tmp_path.rglob("*escaped*")]


@pytest.mark.parametrize(
    "address",
    [
        "../../../x/tree.dir",
        "/etc/tree.dir",
        f"{'0' * 32}",
        f"{'0' * 31}g.dir",
        "",
        f"{'A' * 32}.dir",
    ],
)
def test_fetch_refuses_what_is_no_address(
    repository: Repository, tmp_path: Path, address: str
) -> None:
    with pytest.raises(ValueError, match="is not the address of a folder in DVC's cache; an"):
        store.fetch(repository.folder, address, "last", tmp_path / "out")


@pytest.mark.parametrize("content", ["../../../etc/passwd", "0" * 31, "G" * 32])
def test_fetch_refuses_what_is_no_hash_of_a_file(
    repository: Repository, tmp_path: Path, content: str
) -> None:
    address = forged(repository, "last/weights", content)
    with pytest.raises(ValueError, match=r"0, md5: String should match pattern .*; delete this"):
        store.fetch(repository.folder, address, "last", tmp_path / "out")


@pytest.mark.parametrize("text", ["", "{}", "[[]]", '[{"md5": 1}]', "\xff", "[" * 100_000])
def test_fetch_names_a_damaged_entry_of_the_cache(
    repository: Repository, tmp_path: Path, text: str
) -> None:
    address = forged(repository, "last/weights")
    path = repository.folder / f".dvc/cache/files/md5/{address[:2]}/{address[2:]}"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"\.dir: .*; delete this file, then pull it or repeat"):
        store.fetch(repository.folder, address, "last", tmp_path / "out")


def test_fetch_names_a_file_of_the_cache_with_other_bytes(
    repository: Repository, tmp_path: Path
) -> None:
    address = store.address(repository.folder / PLACE)
    name = str(store.file_md5(str(repository.folder / PLACE / "last/weights"), store.localfs))
    path = repository.folder / f".dvc/cache/files/md5/{name[:2]}/{name[2:]}"
    path.chmod(0o644)
    path.write_text("other bytes")
    with pytest.raises(ValueError, match=rf"{name[2:]}: damaged: its hash is not its name; delete"):
        store.fetch(repository.folder, address, "last", tmp_path / "out")


def test_fetch_follows_no_link_out_of_the_folder(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/deeper").symlink_to(tmp_path / "outside")
    address = store.address(repository.folder / PLACE)
    with pytest.raises(ValueError, match=r"deeper/config: leads out of .*; remove the link"):
        store.fetch(repository.folder, address, "last", tmp_path / "out")
    assert not [*(tmp_path / "outside").iterdir()]


STAGES = """\
stages:
  evaluate:
    cmd: cp asked answered
    deps: [asked]
    params: [selection]
    outs: [answered]
  record:
    cmd: cp answered recorded
    deps: [answered]
    outs: [recorded]
  report:
    cmd: cp asked reported
    deps: [asked]
    outs: [reported]
"""


@pytest.mark.parametrize(
    ("file", "text"),
    [("params.yaml", "selection: best\n"), ("asked", "other\n"), ("answered", "forged\n")],
)
def test_a_stage_is_stale_after_an_edit_of_its_values_or_files(
    tmp_path: Path, file: str, text: str
) -> None:
    found = Repository(tmp_path / "repository")
    (found.folder / "dvc.yaml").write_text(STAGES)
    (found.folder / "params.yaml").write_text("selection: product\n")
    (found.folder / "asked").write_text("asked\n")
    found.run("dvc", "repro", "--quiet")
    assert store.stale(found.folder, "record") == []
    (found.folder / file).unlink()
    assert store.stale(found.folder, "record") == [] or file == "params.yaml"
    (found.folder / file).write_text(text)
    assert store.stale(found.folder, "record") == ["evaluate"]
    assert store.stale(found.folder, "evaluate") == []


def with_remote(repository: Repository, folder: Path) -> Path:
    """Add a local folder as the default remote, and return it."""
    folder.mkdir()
    repository.run("dvc", "remote", "add", "--quiet", "--default", "store", str(folder))
    return folder


def all_addresses(repository: Repository) -> list[str]:
    later = [store.address_at(repository.folder, tag, PLACE) for tag in ("first", "later")]
    return [*later, store.address(repository.folder / PLACE)]


def test_pushed_folders_come_back_after_a_garbage_collection(
    repository: Repository, tmp_path: Path
) -> None:
    addresses = all_addresses(repository)
    assert {*store.places(repository.folder, addresses).values()} == {store.CACHE}
    with_remote(repository, tmp_path / "remote")  # after the runs

    store.push(repository.folder, addresses)

    both = f"{store.CACHE} and {store.REMOTE}"
    assert {*store.places(repository.folder, addresses).values()} == {both}
    repository.run("dvc", "gc", "--workspace", "--force")
    assert [*store.places(repository.folder, addresses).values()] == [
        store.REMOTE,
        store.REMOTE,
        both,
    ]
    store.fetch(repository.folder, addresses[0], "last", tmp_path / "out")
    assert contents(tmp_path / "out")["weights"] == "last/weights: first"


def test_a_folder_that_is_not_whole_is_not_pushed(repository: Repository, tmp_path: Path) -> None:
    addresses = all_addresses(repository)
    remote = with_remote(repository, tmp_path / "remote")
    weights = hashlib.md5(b"last/weights: first", usedforsecurity=False).hexdigest()
    repository.forget(weights)

    store.push(repository.folder, [*addresses, "0" * 32 + ".dir"])

    found = store.places(repository.folder, [*addresses, "0" * 32 + ".dir"])
    assert [*found.values()][::3] == [store.NOWHERE, store.NOWHERE]
    assert not (remote / "files/md5" / addresses[0][:2] / addresses[0][2:]).exists()


def test_a_push_without_a_remote_says_how_to_add_one(repository: Repository) -> None:
    with pytest.raises(ValueError, match=r"no remote specified(?s:.*)dvc remote add -d"):
        store.push(repository.folder, all_addresses(repository))
