"""Tasks in the archive of a GitHub repository at one commit.

The archive comes from GitHub or from a mirror and stays in the cache. GitHub promises the
files of a commit, not the bytes of their archive, so what is pinned is the digest of the
parsed tasks. Members are read as a stream: no file is extracted, and the limits hold for
an archive made to hurt.
"""

import gzip
import json
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from arcmix import files, params, tasks
from arcmix.sources import pins, transfer

MAX_MEMBERS = 20_000
"""Most members of an archive; the largest of ours has some thousands."""
MAX_FILE = 2**20
"""Most bytes of a task's file; the largest of ours has 69 kB."""
MAX_TOTAL = 2**29
"""Most bytes of an unpacked archive; the largest of ours has tens of MB."""


def load(
    name: str,
    source: params.ArchiveSource,
    *,
    cache: Path,
    mirror: str,
    patience: transfer.Patience = transfer.PATIENCE,
) -> pins.Loaded:
    """Return the tasks of a repository's archive, from the cache if it is there.

    Args:
        name: Name of the source.
        source: Its repository, commit, files and pins.
        cache: Folder in which archives are kept.
        mirror: `github`, or a folder or base URL that holds REPO-COMMIT.tar.gz.
        patience: How long a download is tried for.

    Raises:
        OSError: If the archive is neither in the cache nor to be had.
        ValueError: If it is damaged, unsafe or does not hold the pinned tasks; it is then
            no longer in the cache.
    """
    file = f"{source.repository.partition('/')[2]}-{source.commit}.tar.gz"
    path, place = cache / file, _place(source, file, mirror)
    with transfer.locked(path):
        if not path.exists():
            _get(name, place, path, mirror=mirror, patience=patience)
        try:
            return pins.verified(name, read(path, source.files), source, str(path))
        except ValueError as error:
            path.unlink()
            raise ValueError(
                f"{error}; deleted {path} for safety; the next run gets it anew from {place}:"
                " if it fails again, the archive there or the pin is wrong"
            ) from error


def _place(source: params.ArchiveSource, file: str, mirror: str) -> str:
    if mirror == "github":
        return f"https://github.com/{source.repository}/archive/{source.commit}.tar.gz"
    if _is_url(mirror):
        return f"{mirror.rstrip('/')}/{file}"
    return str(Path(mirror).expanduser().absolute() / file)


def _is_url(place: str) -> bool:
    return place.startswith(("http://", "https://"))


def _get(name: str, place: str, path: Path, *, mirror: str, patience: transfer.Patience) -> None:
    try:
        if _is_url(place):
            transfer.download(place, path, patience)
        else:
            with files.replacing(path) as new:
                shutil.copyfile(place, new)
    except OSError as error:
        raise OSError(
            f"no archive of {name}: not in the cache ({path}), and not to be had from {place}:"
            f" {error}; the mirror is {mirror!r}: set mirror in params.yaml, or ARCMIX_MIRROR"
            f" in the environment, to a folder or base URL that holds {path.name}"
        ) from error


def read(path: Path, splits: Mapping[str, tuple[str, ...]]) -> Iterator[tasks.Value]:
    """Yield the task files in an archive; a task's group is what wildcards for folders match.

    Args:
        path: A .tar.gz with one top folder.
        splits: Split -> glob patterns below the top folder; `*` stays within a folder.

    Raises:
        ValueError: If the archive is damaged, a member's path is unsafe, a task file is not a
            plain file of JSON, or a limit is passed.
    """
    try:
        with _Limited(path) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as archive:
            for member, inner in _members(archive):
                if (named := _named(inner, splits)) is not None:
                    yield inner.stem, *named, _json(archive, member)
            # The checksum stands at the end of the file, behind the last member.
            while unpacked.read(transfer.CHUNK):
                pass
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


class _Limited(gzip.GzipFile):
    """An unpacked archive that ends in an error where it grows too long."""

    left = MAX_TOTAL

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.left -= len(data)
        if self.left < 0:
            raise ValueError(f"an archive unpacks to at most {MAX_TOTAL} bytes, this one to more")
        return data


def _members(archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, PurePosixPath]]:
    """Yield each member with its path below the top folder."""
    top = None
    for count, member in enumerate(archive, start=1):
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"a member lies below the top folder, got {member.name!r}")
        top = top or path.parts[:1]
        if path.parts[:1] != top:
            raise ValueError(f"an archive has one top folder, got {top[0]!r} and {member.name!r}")
        if count > MAX_MEMBERS:
            raise ValueError(f"an archive has at most {MAX_MEMBERS} members, this one has more")
        yield member, PurePosixPath(*path.parts[1:])


def _named(
    path: PurePosixPath, splits: Mapping[str, tuple[str, ...]]
) -> tuple[str, str | None] | None:
    """Return the split and the group of a file, or None for one that no pattern names."""
    for split, patterns in splits.items():
        for pattern in patterns:
            # Only an absolute pattern has to match the whole path.
            if PurePosixPath("/", path).match(f"/{pattern}"):
                folders = zip(path.parts[:-1], PurePosixPath(pattern).parts[:-1], strict=True)
                return split, "/".join(name for name, part in folders if name != part) or None
    return None


def _json(archive: tarfile.TarFile, member: tarfile.TarInfo) -> object:
    file = archive.extractfile(member) if member.isreg() else None
    if file is None:
        raise ValueError(f"a task is a plain file, {member.name!r} is a link or a device")
    if member.size > MAX_FILE:
        raise ValueError(f"a task has at most {MAX_FILE} bytes, {member.name!r} has {member.size}")
    try:
        return json.loads(file.read())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{member.name!r} is not JSON: {error}") from error
