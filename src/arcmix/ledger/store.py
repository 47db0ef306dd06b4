"""DVC's content-addressed cache, which keeps the output folders of all runs.

The next experiment replaces the files of the workspace, but not those of the cache. So the address
of a folder stays valid. Only this module calls DVC. It takes no lock of DVC, so a stage may call it
while DVC runs the stage.
"""

import contextlib
import hashlib
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from dvc.config import NoRemoteError
from dvc.dependency.param import ParamsDependency
from dvc.exceptions import DvcException
from dvc.output import Output
from dvc.repo import Repo
from dvc.stage import Stage
from dvc_data.hashfile.hash import file_md5
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.meta import Meta
from dvc_data.hashfile.tree import Tree
from dvc_objects.fs.local import localfs
from pydantic import Field, Strict

from arcmix import checked

Key = tuple[str, ...]
"""The parts of a path."""

ADDRESS = re.compile(r"[0-9a-f]{32}\.dir")
"""Pattern of an address."""

HASH = re.compile("[0-9a-f]{32}")
"""Pattern of the address of a file."""

PART = re.compile(r"(?!\.{1,2}$)[^\x00-\x1f\x7f/\\:]+")
"""Pattern of a part of a path in a folder; `\\` and `:` have meanings on Windows."""


CACHE, REMOTE, NOWHERE = "in the cache", "in the remote", "nowhere"
"""Where a folder is."""


@checked.OPEN
@dataclass(frozen=True)
class _Entry:
    """A file of a cached folder."""

    md5: Annotated[str, Field(pattern="^[0-9a-f]{32}$"), Strict()]
    relpath: checked.Text


@dataclass(frozen=True)
class Recorded:
    """What `dvc.lock` says of a stage."""

    name: str
    """Name of the stage."""
    command: bool
    """Whether the stage ran with the command of `dvc.yaml`."""
    values: tuple[str, ...]
    """Places in `params.yaml` whose value is not the one that the stage ran with."""
    reads: dict[str, str | None]
    """Path of a dependency -> its address when the stage ran; None if `dvc.lock` has none."""
    writes: dict[str, str | None]
    """Path of an output -> its address."""


def address(path: Path) -> str:
    """Return the address of a file or a folder in DVC's cache.

    The address of a file is its MD5 hash; that of a folder ends with `.dir`.
    """
    if path.is_file():
        return file_md5(str(path), localfs)
    found = (file for file in sorted(path.rglob("*")) if file.is_file())
    return address_of({str(file.relative_to(path)): address(file) for file in found})


def address_of(files: Mapping[str, str]) -> str:
    """Return the address of a folder, given the relative path -> the address of each file."""
    tree = Tree()
    for path, content in sorted(files.items()):
        tree.add(tuple(path.split("/")), Meta(), HashInfo("md5", content))
    tree.digest()
    return str(tree.oid)


def recorded(repository: Path) -> list[Recorded]:
    """Return what `dvc.lock` says of each stage of `dvc.yaml`; no data is needed.

    Raises:
        ValueError: If a file of DVC or `params.yaml` cannot be read.
    """
    with _opened(repository) as opened:
        return [_recorded(stage) for stage in opened.index.stages]


def _recorded(stage: Stage) -> Recorded:
    values = [one for one in stage.deps if isinstance(one, ParamsDependency)]
    changed = []
    for one in values:
        status = one.workspace_status().get(str(one), {})
        # A text says that dvc.lock has no values at all, or that the file is missing.
        changed += one.params if isinstance(status, str) else status
    reads = {one.def_path: _address(one) for one in stage.deps if one not in values}
    return Recorded(
        # In another working directory, an address begins with the path of dvc.yaml.
        name=stage.addressing.rpartition(":")[2],
        command=not getattr(stage, "cmd_changed", False),
        values=tuple(changed),
        reads=reads,
        writes={one.def_path: _address(one) for one in stage.outs},
    )


def _address(output: Output) -> str | None:
    return str(output.hash_info.value) if output.hash_info else None


def cached(repository: Path, address: str) -> Path | None:
    """Return the path of a file in the cache, or None if the cache does not have it.

    Args:
        repository: Root of the repository.
        address: The address of a file.
    """
    with _opened(repository) as opened:
        cache = opened.cache.local
        held = bool(HASH.fullmatch(address)) and cache.exists(address)
        return Path(cache.oid_to_path(address)) if held else None


def address_at(repository: Path, revision: str, folder: str) -> str:
    """Return the address of an output folder at a revision.

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
                f"{repository}: no run has written {folder} at revision {revision!r}; the revision"
                " must have a finished run, so name another one"
            )
        return str(entry.hash_info.value)


def texts_at(repository: Path, revision: str, folder: str) -> dict[str, str]:
    """Return relative path -> content of the text files in a folder at a revision.

    Args:
        repository: Root of the repository.
        revision: A Git revision, or the name of a DVC experiment.
        folder: A folder that Git tracks, relative to the root. If it does not exist, the result is
            empty.

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
    """Copy a subfolder of a cached folder; files missing from the cache are pulled.

    Args:
        repository: Root of the repository.
        address: The address of the cached folder.
        part: Name of the subfolder.
        out: The folder to copy the files to.

    Raises:
        FileNotFoundError: If a file is neither in the cache nor in a remote.
        ValueError: If the address is none, if the cached folder does not have the subfolder, or if
            its cache entry is damaged or leads out of the folder.
    """
    with _opened(repository) as opened:
        tree = _tree(opened, address)
        files = {key: content for key, content in tree.items() if key[0] == part}
        if not files:
            held = sorted({key[0] for key in tree})
            raise ValueError(
                f"{address} in the DVC cache has no {part!r}, got {held}; choose one of these"
            )
        for key, content in _held(opened, files, address).items():
            if file_md5(content, localfs) != files[key]:
                raise ValueError(
                    f"{content}: damaged: its hash is not its name; delete this file, then pull it"
                    " or repeat the run"
                )
            target = out.joinpath(*key[1:])
            if not target.resolve().is_relative_to(out.resolve()):
                raise ValueError(
                    f"{target}: leads out of {out}, to {target.resolve()}; remove the link"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(content, target)


def push(repository: Path, addresses: Sequence[str]) -> None:
    """Copy the cached folders among some addresses to the default remote.

    Args:
        repository: Root of the repository.
        addresses: Addresses of folders. Those that are not whole in the cache are left out.

    Raises:
        ValueError: If there is no remote, or if it did not take a file.
    """
    with _opened(repository) as opened:
        opened.cloud.get_remote_odb(command="push")  # an error even if there is nothing to push
        held = [one for address in addresses for one in _cached(opened, address)]
        failed = opened.cloud.push([HashInfo("md5", one) for one in held]).failed
        if failed:
            raise ValueError(
                f"{len(failed)} files could not be pushed to the remote; see the messages above,"
                " then run the same again"
            )


def places(repository: Path, addresses: Sequence[str]) -> dict[str, str]:
    """Return address -> where the folder is: `CACHE`, `REMOTE`, both or `NOWHERE`.

    The remote is not asked if there is none.

    Args:
        repository: Root of the repository.
        addresses: Addresses of folders.
    """
    with _opened(repository) as opened:
        remote = None
        with contextlib.suppress(NoRemoteError):
            remote = opened.cloud.get_remote_odb(command="status")
        found = {}
        for address in addresses:
            # A folder is pushed after its files.
            pushed = remote is not None and remote.exists(address)
            found[address] = REMOTE if pushed else NOWHERE
            if _cached(opened, address):
                found[address] = f"{CACHE} and {REMOTE}" if pushed else CACHE
        return found


def _cached(opened: Repo, address: str) -> list[str]:
    """Return the hashes of a folder and of its files if all are in the cache, or else nothing."""
    cache = opened.cache.local
    if not cache.exists(address):
        return []
    hashes = [*_tree(opened, address).values(), address]
    return hashes if all(map(cache.exists, hashes)) else []


def stale(place: Path, name: str) -> list[str]:
    """Return the stages before a stage whose values or files changed after they ran.

    Args:
        place: A folder in the repository, whose workspace is compared with its `dvc.lock`.
        name: Name of the stage.
    """
    with _opened(place) as opened:
        found = opened.stage.collect(str(Path(opened.root_dir, f"dvc.yaml:{name}")), with_deps=True)
        # In another working directory, an address begins with the path of dvc.yaml.
        changed = {one.addressing.rpartition(":")[2] for one in found if _changed(one)}
        return sorted(changed - {name})


def _changed(stage: Stage) -> bool:
    """Return whether a value or a file of a stage changed; missing files are no change."""
    found = [one.workspace_status() for one in (*stage.deps, *stage.outs)]
    return any(status != "deleted" for statuses in found for status in statuses.values())


def _tree(opened: Repo, address: str) -> dict[Key, str]:
    """Return path -> hash of each file of a cached folder.

    The entry may come from a stranger's cache, and its paths become paths of files here.
    """
    if not ADDRESS.fullmatch(address):
        raise ValueError(
            f"{address!r} is not the address of a folder in DVC's cache; an address is 32"
            " hexadecimal digits with the suffix .dir"
        )
    path = Path(_held(opened, {(): address}, address)[()])
    remedy = "delete this file, then pull it or repeat the run"
    entries = checked.read_json(path, list[_Entry], remedy)
    if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != address[:32]:
        raise ValueError(f"{path}: damaged: its hash is not its name; {remedy}")
    found = {tuple(entry["relpath"].split("/")): entry["md5"] for entry in entries}
    for key in found:
        if not all(PART.fullmatch(part) for part in key):
            raise ValueError(
                f"{path}: the path {'/'.join(key)!r} is not one in the folder; a path has parts"
                f" other than . and .., joined by /; {remedy}"
            )
    return found


def _held(opened: Repo, wanted: dict[Key, str], address: str) -> dict[Key, str]:
    """Return key -> path in the cache of each file, after pulling missing files.

    Args:
        opened: The repository.
        wanted: Key -> hash of the file.
        address: Address of the folder, for errors.

    Raises:
        FileNotFoundError: If a file is neither in the cache nor in a remote.
    """
    cache = opened.cache.local
    if lacking := [content for content in wanted.values() if not cache.exists(content)]:
        # Files that are still missing afterwards raise an error below.
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
    """Open the DVC repository at a revision, and turn DVC's errors into `ValueError`."""
    try:
        # Repo.open would take the cache itself for the remote where there is none.
        found = Repo.open(str(repository), rev=revision) if revision else Repo(str(repository))
        with found as opened:
            yield opened
    except DvcException as error:
        raise ValueError(f"{repository}: {error}") from error
