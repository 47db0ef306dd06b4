"""Local files and folders that `params.yaml` names: where they are, and a digest of their content.

A queued run works in a temporary folder. So a relative path starts at the repository that queued
the run, which is also where its user wrote it.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def place(path: str, root: Path) -> Path:
    """Return the absolute path of a local file or folder.

    Args:
        path: An absolute path, a path that starts with `~`, or one relative to `root`.
        root: The repository.
    """
    return root.absolute() / Path(path).expanduser()


def digest(found: Iterable[tuple[str, Path]]) -> str:
    """Return a sha256 of the names and contents of files, independent of their order.

    Args:
        found: Name and path of each file.

    Raises:
        OSError: If a file cannot be read.
    """
    total = hashlib.sha256()
    for name, path in sorted(found):
        with path.open("rb") as file:
            total.update(f"{name}\n{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()
