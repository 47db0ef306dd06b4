"""DVC's content-addressed cache of the folders that runs have written.

An address stays valid after the run: the next experiment replaces the workspace, but the cache
keeps the outputs of each. Only this module calls DVC. It acquires no DVC lock, so a stage can
call it while DVC runs that stage.
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
    """Return the address under which DVC caches a folder: a hash followed by `.dir`."""
    tree = Tree()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            content = HashInfo("md5", file_md5(str(file), localfs))
            tree.add(file.relative_to(folder).parts, Meta(), content)
    tree.digest()
    return str(tree.oid)


def address_at(repository: Path, revision: str, folder: str) -> str:
    """Return the address of a folder at a revision.

    Args:
        repository: Root of the repository.
        revision: A Git revision, or the name of a DVC experiment.
        folder: An output of the pipeline, relative to the root.

    Raises:
        ValueError: If the revision does not exist or does not have the output.
    """
    with _opened(repository, revision) as opened:
        _, entry = opened.get_data_index_entry(folder)
        if entry.hash_info is None:
            raise ValueError(
                f"{repository}: no run has written {folder} at revision {revision!r}; name a"
                " revision with a finished run"
            )
        return str(entry.hash_info.value)


def texts_at(repository: Path, revision: str, folder: str) -> dict[str, str]:
    """Return the contents of the text files in a folder at a revision, by relative path.

    Git has to track the folder. A folder that does not exist has no files.

    Raises:
        ValueError: If the revision does not exist.
    """
    with _opened(repository, revision) as opened:
        root = opened.fs.join(opened.root_dir, folder)
        found = sorted(opened.fs.find(root)) if opened.fs.exists(root) else []
        return {
            opened.fs.relpath(path, root): opened.fs.read_text(path, encoding="utf-8")
            for path in found
        }


def fetch(repository: Path, address: str, part: str, out: Path) -> None:
    """Copy a part of a cached folder; files missing from the cache are pulled from the remote.

    Args:
        repository: Root of the repository.
        address: The folder's address.
        part: A subfolder of the folder.
        out: The folder to copy the files to.

    Raises:
        FileNotFoundError: If a file is neither in the cache nor in a remote.
        ValueError: If the folder does not have the part.
    """
    with _opened(repository) as opened:
        tree = _tree(opened, address)
        files = {key: str(content.value) for key, _, content in tree if content and key[0] == part}
        if not files:
            held = sorted({key[0] for key, _, _ in tree})
            raise ValueError(
                f"{address} in the DVC cache has no {part!r}, it has {held}; choose one of them"
            )
        for key, content in _held(opened, files, address).items():
            target = out.joinpath(*key[1:])
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(content, target)


def _tree(opened: Repo, address: str) -> Tree:
    _held(opened, {(): address}, address)
    try:
        return Tree.load(opened.cache.local, HashInfo("md5", address))
    except ObjectFormatError as error:
        raise ValueError(
            f"{error} in the DVC cache: delete it, then pull it or repeat the run"
        ) from error


def _held(opened: Repo, wanted: dict[Key, str], address: str) -> dict[Key, str]:
    """Return the cache path of each content, which is pulled if it is missing."""
    cache = opened.cache.local
    if lacking := [content for content in wanted.values() if not cache.exists(content)]:
        # Contents that are still missing afterwards are an error below.
        with contextlib.suppress(NoRemoteError, FileNotFoundError):
            opened.cloud.pull([HashInfo("md5", content) for content in lacking])
    for key, content in wanted.items():
        if not cache.exists(content):
            raise FileNotFoundError(
                f"{'/'.join([address, *key])} is not in the DVC cache of {opened.root_dir}"
                " and not in a remote"
            )
    return {key: cache.oid_to_path(content) for key, content in wanted.items()}


@contextlib.contextmanager
def _opened(repository: Path, revision: str | None = None) -> Iterator[Repo]:
    try:
        with Repo.open(str(repository), rev=revision) as opened:
            yield opened
    except DvcException as error:
        raise ValueError(f"{repository}: {error}") from error
