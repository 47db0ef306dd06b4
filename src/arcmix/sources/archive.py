"""Tasks from the archive of a GitHub repository at one commit.

Archives come from GitHub or a mirror and are cached. GitHub guarantees the files of a commit
but not the bytes of their archive, so the pin is a digest of the parsed tasks. An archive is
read as a stream and never extracted. Its size is limited, in case it is malicious.
"""

import gzip
import json
import tarfile
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from arcmix import files, local, parsing, redaction
from arcmix.config import origins
from arcmix.sources import pins, transfer

MIRROR = "ARCMIX_MIRROR"
"""Environment variable that overrides the parameter `mirror`."""
MAX_MEMBERS = 20_000
"""Maximum number of archive members; our largest archive has five thousand."""
MAX_HEADERS = 2**14
"""Maximum size of the headers of a member in bytes. GitHub writes 512, and a few hundred more for a
long path. tarfile reads them as a whole, and each of them one level deeper."""
MAX_FILE = 2**20
"""Maximum size of a task file in bytes; our largest has 97 kB."""
MAX_FILES = 2**25
"""Maximum size of all task files in bytes; our largest archive has 6 MB of them."""
MAX_TOTAL = 2**29
"""Maximum size of an unpacked archive in bytes; our largest has 6 MB."""


def load(
    name: str,
    source: origins.ArchiveSource,
    *,
    cache: Path,
    mirror: str,
    root: Path,
    limits: transfer.Limits = transfer.LIMITS,
) -> pins.Loaded:
    """Return the tasks of a repository's archive, which is fetched if it is not cached.

    Args:
        name: Name of the source.
        source: Its repository, commit, file patterns and pins.
        cache: Folder of the cached archives.
        mirror: `github`, or a folder or base URL that contains REPO-COMMIT.tar.gz.
        root: The repository, where the path of a relative folder starts.
        limits: Limits of a download.

    Raises:
        OSError: If the archive is not cached and cannot be fetched.
        ValueError: If the archive is damaged or unsafe, or its tasks differ from the pins. The
            archive is then deleted from the cache. Or if the mirror is neither a folder nor a
            base URL.
    """
    path, origin = cache / _file(source), place(source, mirror, root)
    with files.locked(path):
        if not path.exists() or _was_rebuilt(path, origin):
            _get(name, origin, path, limits)
        try:
            return pins.verified(name, read(path, source.files), source, str(path))
        except (ValueError, MemoryError) as error:
            path.unlink()
            raise ValueError(
                f"{transfer.explained(error)}; deleted {path}, so the next run fetches it again"
                f" from {redaction.redacted(origin)}"
            ) from error


def _file(source: origins.ArchiveSource) -> str:
    return f"{source.repository.partition('/')[2]}-{source.commit}.tar.gz"


def place(source: origins.ArchiveSource, mirror: str, root: Path) -> str:
    """Return the address of an archive, or its absolute path in a mirror that is a folder.

    Raises:
        ValueError: If the mirror is neither a folder nor a base URL.
    """
    file = _file(source)
    if mirror == "github":
        return f"https://github.com/{source.repository}/archive/{source.commit}.tar.gz"
    if _is_url(mirror):
        base = urllib.parse.urlsplit(mirror)
        return base._replace(path=f"{base.path.rstrip('/')}/{file}").geturl()
    if "://" in mirror:
        raise ValueError(
            f"the mirror {redaction.redacted(mirror)} is not allowed; allowed are github, an http"
            " or https URL, and a folder: set mirror in params.yaml, or ARCMIX_MIRROR"
        )
    return str(local.place(mirror, root) / file)


def _is_url(place: str) -> bool:
    return place.startswith(("http://", "https://"))


def _was_rebuilt(path: Path, origin: str) -> bool:
    """Return whether a mirror that is a folder has another archive than the cached one."""
    found = Path(origin)
    return not _is_url(origin) and found.is_file() and files.digest([found]) != files.digest([path])


def _get(name: str, place: str, path: Path, limits: transfer.Limits) -> None:
    try:
        if _is_url(place):
            transfer.download(place, path, limits)
        else:
            transfer.copy(Path(place), path, limits)
    except OSError as error:
        raise OSError(
            f"no archive of {name}: it is not in the cache ({path}) and cannot be fetched from"
            f" {redaction.redacted(place)}: {error}; set mirror in params.yaml, or ARCMIX_MIRROR in"
            f" the environment, to a folder or base URL that contains {path.name}"
        ) from error


def read(path: Path, splits: Mapping[str, tuple[str, ...]]) -> Iterator[parsing.Value]:
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
    left = MAX_FILES
    try:
        with (
            _Limited(path) as unpacked,
            # It reads no more than this beyond the headers of a member.
            tarfile.open(fileobj=unpacked, mode="r|", bufsize=2**12) as archive,
        ):
            for member, inner in _members(unpacked, archive):
                if (found := named(inner, splits)) is not None:
                    value = _json(archive, member)
                    left -= member.size
                    if left < 0:
                        raise ValueError(
                            f"the task files have more than the allowed {MAX_FILES} bytes"
                        )
                    yield inner.stem, *found, value
            # Reading to the end verifies the checksum, which follows the last member.
            unpacked.end = MAX_TOTAL
            while unpacked.read(transfer.CHUNK):
                pass
    except transfer.READ_ERRORS as error:
        raise ValueError(f"{path} is damaged or unsafe: {transfer.explained(error)}") from error


class _Limited(gzip.GzipFile):
    """An unpacked archive that raises an error when it is read beyond a place, `end`."""

    end = MAX_HEADERS

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if self.tell() > MAX_TOTAL:
            raise ValueError(f"the archive unpacks to more than the allowed {MAX_TOTAL} bytes")
        if self.tell() > self.end:
            raise ValueError(
                f"the headers of a member have more than the allowed {MAX_HEADERS} bytes"
            )
        return data


def _members(
    unpacked: _Limited, archive: tarfile.TarFile
) -> Iterator[tuple[tarfile.TarInfo, PurePosixPath]]:
    """Yield each member and its path relative to the top-level folder."""
    top, count = None, 0
    while (member := archive.next()) is not None:
        count += 1
        # tarfile keeps all members and all global headers, of which one may have a thousand.
        archive.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
        archive.pax_headers = {}
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
        unpacked.end = archive.offset + MAX_HEADERS
        yield member, PurePosixPath(*path.parts[1:])


def named(
    path: PurePosixPath, splits: Mapping[str, tuple[str, ...]]
) -> tuple[str, str | None] | None:
    """Return the split and group of a file, or None if no pattern matches.

    Args:
        path: Path of the file, relative to the folder of the patterns.
        splits: Glob patterns of each split.
    """
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
