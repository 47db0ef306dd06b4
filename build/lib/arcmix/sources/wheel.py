"""Wheels from the package index, pinned by hash and read without installation."""

import contextlib
import hashlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from arcmix import files, redaction
from arcmix.config import origins
from arcmix.sources import transfer


@dataclass(frozen=True)
class Limits:
    """How long pip may take, and how large the files may be."""

    deadline: float
    """Seconds after which pip is ended."""
    size: int
    """Maximum size in bytes of a wheel, and of a file in it."""


LIMITS = Limits(deadline=3600.0, size=2**32)
"""Our largest wheel has 86 MB."""


def fetch(requirement: str, sha256: str, cache: Path, limits: Limits = LIMITS) -> Path:
    """Return the path of a wheel, which is fetched from the package index if it is not cached.

    pip fetches the wheel, so pip's settings apply: index, proxy, certificates. It neither builds
    nor runs anything of the package.

    Args:
        requirement: `name==version`.
        sha256: Hash of the wheel.
        cache: Folder of the cached wheels.
        limits: Limits of the download.

    Raises:
        OSError: If pip cannot fetch the wheel.
        ValueError: If the requirement is not `name==version`, or if the hash of the wheel differs
            from the pin. The wheel is then deleted from the cache.
    """
    if not re.fullmatch(origins.REQUIREMENT, requirement):
        raise ValueError(
            f"the requirement {requirement!r} is not allowed: state one version of a package,"
            " name==version"
        )
    path = cache.absolute() / f"{requirement.replace('==', '-')}-{sha256[:16]}.whl"
    with files.locked(path):
        if not path.exists():
            _download(requirement, path, limits)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            path.unlink()
            raise ValueError(
                f"the wheel of {requirement} is not the pinned one: expected sha256 {sha256},"
                f" found {found}; deleted {path}, so the next run fetches it again; if the error"
                " persists, correct the package index or the pin"
            )
    return path


def _download(requirement: str, path: Path, limits: Limits) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-input", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", "--", requirement]
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        try:
            with _file_size(limits.size):
                # The standard output stays open for pip's progress bar.
                done = subprocess.run(  # noqa: S603
                    command,
                    cwd=folder,
                    stderr=subprocess.PIPE,
                    text=True,
                    check=False,
                    timeout=limits.deadline,
                )
            failed, last = done.returncode, done.stderr.strip().rpartition("\n")[2]
        except subprocess.TimeoutExpired:
            failed, last = True, f"it took more than the allowed {limits.deadline:g} seconds"
        wheels = list(Path(folder).glob("*.whl"))
        if failed or len(wheels) != 1:
            raise OSError(
                f"no wheel of {requirement}: it is not in the cache ({path}) and pip cannot fetch"
                f" it: {redaction.redacted(last)}; pip uses the index of its own settings: see pip"
                " config list, or set PIP_INDEX_URL, or set PIP_FIND_LINKS to a folder that"
                " contains the wheel"
            )
        wheels[0].replace(path)


@contextlib.contextmanager
def _file_size(limit: int) -> Iterator[None]:
    """Limit the size of each file that this process or one that it starts writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    lower = [one for one in (soft, hard, limit) if one != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_FSIZE, (min(lower), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def extract(wheel: Path, member: str, out: Path, limits: Limits = LIMITS) -> None:
    """Copy one file from a wheel.

    Raises:
        ValueError: If the wheel does not contain the file, the file is too large, or the wheel is
            damaged.
    """
    try:
        with zipfile.ZipFile(wheel) as archive, files.replacing(out) as new:
            if member not in archive.namelist():
                raise ValueError(f"there is no file {member!r}; correct the name of the file")
            if (size := archive.getinfo(member).file_size) > limits.size:
                raise ValueError(f"{member!r} has {size} bytes, above the allowed {limits.size}")
            with archive.open(member) as source, new.open("wb") as copy:
                shutil.copyfileobj(source, copy)
    except transfer.READ_ERRORS as error:
        raise ValueError(f"{wheel}: {transfer.explained(error)}") from error
