"""DVC's store of what runs made: folders by the address of their content.

An address outlives the run: the workspace goes on to the next experiment, the cache keeps
what each of them wrote. Only this module talks to DVC. It takes no lock, so that a stage may
call it while DVC runs the stage.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from dvc.config import NoRemoteError
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc_data.hashfile.hash import file_md5
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.meta import Meta
from dvc_data.hashfile.tree import Tree
from dvc_objects.errors import ObjectFormatError
from dvc_objects.fs.local import localfs

Key = tuple[str, ...]
"""The parts of a path."""


def address(folder: Path) -> str:
    """Return the address under which DVC caches a folder, a hash and `.dir`."""
    tree = Tree()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            content = HashInfo("md5", file_md5(str(file), localfs))
            tree.add(file.relative_to(folder).parts, Meta(), content)
    tree.digest()
    return str(tree.oid)


def address_at(repository: Path, revision: str, folder: str) -> str:
    """Return the address that a folder had at a revision.

    Args:
        repository: Root of the repository.
        revision: A revision of git, or the name of an experiment.
        folder: An output of the pipeline, from the root.

    Raises:
        ValueError: If there is no such revision, or no such output at it.
    """
    with _opened(repository, revision) as opened:
        _, entry = opened.get_data_index_entry(folder)
        if entry.hash_info is None:
            raise ValueError(f"{repository}: at {revision!r}, no run has made {folder}")
        return str(entry.hash_info.value)


def texts_at(repository: Path, revision: str, folder: str) -> dict[str, str]:
    """Return the texts of the files in a folder that git keeps, by their paths in it.

    Raises:
        ValueError: If there is no such revision; a folder that is not there holds no files.
    """
    with _opened(repository, revision) as opened:
        root = opened.fs.join(opened.root_dir, folder)
        found = sorted(opened.fs.find(root)) if opened.fs.exists(root) else []
        return {
            opened.fs.relpath(path, root): opened.fs.read_text(path, encoding="utf-8")
            for path in found
        }


def fetch(repository: Path, address: str, part: str, out: Path) -> None:
    """Copy a part of a folder out of the repository's cache, or its remote if it has one.

    Args:
        repository: Root of the repository.
        address: The folder's address.
        part: A folder inside that folder.
        out: Where the part's files go.

    Raises:
        FileNotFoundError: If a file is neither in the cache nor in the remote.
        ValueError: If the folder has no such part.
    """
    with _opened(repository) as opened:
        tree = _tree(opened, address)
        files = {key: str(content.value) for key, _, content in tree if content and key[0] == part}
        if not files:
            held = sorted({key[0] for key, _, _ in tree})
            raise ValueError(f"{address} in DVC's cache has no {part!r}, it holds {held}")
        for key, content in _held(opened, files, address).items():
            target = out.joinpath(*key[1:])
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(content, target)


def _tree(opened: Repo, address: str) -> Tree:
    _held(opened, {(): address}, address)
    try:
        return Tree.load(opened.cache.local, HashInfo("md5", address))
    except ObjectFormatError as error:
        raise ValueError(f"{error} in DVC's cache: remove it, and pull it or run again") from error


def _held(opened: Repo, wanted: dict[Key, str], address: str) -> dict[Key, str]:
    """Return the path in the cache of each content, pulled if need be."""
    cache = opened.cache.local
    if lacking := [content for content in wanted.values() if not cache.exists(content)]:
        # Without a remote, or not in it: what is lacking still is told below.
        with contextlib.suppress(NoRemoteError, FileNotFoundError):
            opened.cloud.pull([HashInfo("md5", content) for content in lacking])
    for key, content in wanted.items():
        if not cache.exists(content):
            raise FileNotFoundError(
                f"{'/'.join([address, *key])} is not in the DVC cache of {opened.root_dir},"
                " nor in a remote"
            )
    return {key: cache.oid_to_path(content) for key, content in wanted.items()}


@contextlib.contextmanager
def _opened(repository: Path, revision: str | None = None) -> Iterator[Repo]:
    try:
        with Repo.open(str(repository), rev=revision) as opened:
            yield opened
    except DvcException as error:
        raise ValueError(f"{repository}: {error}") from error
