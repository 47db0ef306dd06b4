"""Small wheels for tests that pip accepts."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path


def pack(folder: Path, members: Mapping[str, str | bytes], name: str = "toy_gym") -> Path:
    """Write version 1.0 of a wheel with some files."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    about = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in [*members.items(), *about.items()]:
            archive.writestr(member, content)
    return path


def sha256(path: Path) -> str:
    """Return the sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
