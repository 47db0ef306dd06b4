"""Atomic writes and removals: a reader sees the old state or the new one, never a partial one."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path, which replaces `path` when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    new = Path(name)
    try:
        yield new
        new.chmod(0o644)  # the 0600 of mkstemp would lock other users out of a shared cache
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def discard(folder: Path) -> None:
    """Remove a folder atomically: rename it to `<folder>.done`, then delete it.

    The remains of an earlier, interrupted removal are deleted too.

    Raises:
        FileNotFoundError: If the folder does not exist.
    """
    done = folder.with_name(f"{folder.name}.done")
    if done.exists():
        shutil.rmtree(done)
    shutil.rmtree(folder.rename(done))


def write_json(path: Path, values: Any) -> None:  # noqa: ANN401
    """Write values as indented JSON with sorted keys, so that equal values give equal bytes."""
    text = json.dumps(values, indent=1, sort_keys=True, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path) -> Any:  # noqa: ANN401
    """Read a JSON file.

    Raises:
        ValueError: If the file is not valid JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: not valid JSON: {error}; correct or recreate the file"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8")


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV with floats of 6 significant digits."""
    with replacing(path) as new:
        table.to_csv(new, index=False, float_format="%.6g")


def read_csv(path: Path) -> list[dict[str, Any]]:
    """Read a CSV file as one mapping per row, with None for an empty cell and task ids as text."""
    # Otherwise, the task id 00576224 would be read as a number.
    table = pd.read_csv(path, dtype={"task": str})
    return table.astype(object).where(table.notna(), None).to_dict("records")


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a table as Parquet."""
    with replacing(path) as new:
        table.to_parquet(new, index=False)


def key(values: str, inputs: Iterable[Path]) -> str:
    """Return a cache key in 16 hexadecimal digits, such as for the checkpoints of a program.

    Args:
        values: The parameters on which the result depends, as text.
        inputs: The files and folders on which the result depends, with the fingerprint of the code.
    """
    return hashlib.sha256(f"{values}\n{digest(inputs)}".encode()).hexdigest()[:16]


def digest(inputs: Iterable[Path]) -> str:
    """Return the sha256 of the contents of files, and of the contents and names in folders."""
    found = hashlib.sha256()
    for path in inputs:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            found.update(f"{file.relative_to(path)}\n".encode())
            if file.is_dir():
                continue
            with file.open("rb") as opened:
                found.update(hashlib.file_digest(opened, "sha256").digest())
    return found.hexdigest()
