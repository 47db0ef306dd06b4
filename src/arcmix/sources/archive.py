"""Tasks from the archive of a GitHub repository at one commit.

Archives come from GitHub or a mirror and are cached. GitHub guarantees the files of a commit
but not the bytes of their archive, so the pin is a digest of the parsed tasks. An archive is
read as a stream and never extracted. Its size is limited, in case it is malicious.
"""

import gzip
import json
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from arcmix import files, tasks
from arcmix.config import origins
from arcmix.sources import pins, transfer

MAX_MEMBERS = 20_000
"""Maximum number of archive members; our largest archive has a few thousand."""
MAX_FILE = 2**20
"""Maximum size of a task file in bytes; our largest has 69 kB."""
MAX_TOTAL = 2**29
"""Maximum size of an unpacked archive in bytes; our largest has tens of MB."""


def load(
    name: str,
    source: origins.ArchiveSource,
    *,
    cache: Path,
    mirror: str,
    patience: transfer.Patience = transfer.PATIENCE,
) -> pins.Loaded:
    """Return the tasks of a repository's archive, which is fetched if it is not cached.

    Args:
        name: Name of the source.
        source: Its repository, commit, file patterns and pins.
        cache: Folder of the cached archives.
        mirror: `github`, or a folder or base URL that contains REPO-COMMIT.tar.gz.
        patience: Attempts and timeouts of a download.

    Raises:
        OSError: If the archive is not cached and cannot be fetched.
        ValueError: If the archive is damaged or unsafe, or its tasks differ from the pins. The
            archive is then deleted from the cache.
    """
    file = f"{source.repository.partition('/')[2]}-{source.commit}.tar.gz"
    path, place = cache / file, _place(source, file, mirror)
    with files.locked(path):
        if not path.exists():
            _get(name, place, path, mirror=mirror, patience=patience)
        try:
            return pins.verified(name, read(path, source.files), source, str(path))
        except ValueError as error:
            path.unlink()
            raise ValueError(
                f"{error}; deleted {path}, so the next run fetches it again from {place}; if the"
                " error persists, correct the archive there or the pins"
            ) from error


def _place(source: origins.ArchiveSource, file: str, mirror: str) -> str:
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
            f"no archive of {name}: it is not in the cache ({path}) and cannot be fetched from"
            f" {place}: {error}; the mirror is {mirror!r}: set mirror in params.yaml, or"
            " ARCMIX_MIRROR in the environment, to a folder or base URL that contains"
            f" {path.name}"
        ) from error


def read(path: Path, splits: Mapping[str, tuple[str, ...]]) -> Iterator[tasks.Value]:
    """Yield the task files of an archive.

    The group of a task is made of the folder names that a wildcard matches.

    Args:
        path: A .tar.gz file with one top-level folder.
        splits: Glob patterns of each split, relative to the top-level folder. A `*` does not
            match a `/`.

    Raises:
        ValueError: If the archive is damaged or exceeds a limit, a member's path is unsafe, or
            a task file is not a regular file with valid JSON.
    """
    try:
        with _Limited(path) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as archive:
            for member, inner in _members(archive):
                if (named := _named(inner, splits)) is not None:
                    yield inner.stem, *named, _json(archive, member)
            # Reading to the end verifies the checksum, which follows the last member.
            while unpacked.read(transfer.CHUNK):
                pass
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


class _Limited(gzip.GzipFile):
    """An unpacked archive that raises an error when it exceeds the size limit."""

    left = MAX_TOTAL

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.left -= len(data)
        if self.left < 0:
            raise ValueError(f"the archive unpacks to more than the allowed {MAX_TOTAL} bytes")
        return data


def _members(archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, PurePosixPath]]:
    """Yield each member and its path relative to the top-level folder."""
    top = None
    for count, member in enumerate(archive, start=1):
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{member.name!r} is outside the top-level folder of the archive")
        top = top or path.parts[:1]
        if path.parts[:1] != top:
            raise ValueError(
                f"{member.name!r} is not in {top[0]!r}, the only folder allowed at the top"
            )
        if count > MAX_MEMBERS:
            raise ValueError(f"the archive has more than the allowed {MAX_MEMBERS} members")
        yield member, PurePosixPath(*path.parts[1:])


def _named(
    path: PurePosixPath, splits: Mapping[str, tuple[str, ...]]
) -> tuple[str, str | None] | None:
    """Return the split and group of a file, or None if no pattern matches."""
    for split, patterns in splits.items():
        for pattern in patterns:
            # An absolute pattern has to match the whole path, a relative one only its end.
            if PurePosixPath("/", path).match(f"/{pattern}"):
                folders = zip(path.parts[:-1], PurePosixPath(pattern).parts[:-1], strict=True)
                return split, "/".join(name for name, part in folders if name != part) or None
    return None


def _json(archive: tarfile.TarFile, member: tarfile.TarInfo) -> object:
    file = archive.extractfile(member) if member.isreg() else None
    if file is None:
        raise ValueError(f"{member.name!r} is a link or a device, but a task is a regular file")
    if member.size > MAX_FILE:
        raise ValueError(
            f"{member.name!r} has {member.size} bytes, more than the allowed {MAX_FILE}"
        )
    try:
        return json.loads(file.read())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{member.name!r} is not valid JSON: {error}") from error
