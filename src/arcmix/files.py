"""Atomic writes, locks and removals: a reader sees the old state or the new one, never a part.

A process may be killed, and a machine may lose power, at any time. What a killed process leaves is
hidden: its name starts with a dot and ends with `.partial`, which git, DVC and our readers ignore.
"""

import contextlib
import hashlib
import json
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import filelock
import pandas as pd

log = logging.getLogger("arcmix.files")

PARTIAL = ".partial"
"""End of the name of a file that is being written."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path, which replaces `path` when the block succeeds.

    The remains of killed processes that wrote the same file are removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_remains(path)
    handle, new = _temporary(path)
    try:
        yield new
        new.chmod(0o644)  # the 0600 of mkstemp would lock other users out of a shared cache
        # Without this, a machine that loses power may keep the new name and not the contents.
        _sync(new)
        new.replace(path)
        with contextlib.suppress(OSError):  # not every file system can do this
            _sync(path.parent)
    finally:
        new.unlink(missing_ok=True)
        os.close(handle)


def _temporary(path: Path) -> tuple[int, Path]:
    """Return a new file beside `path`, and a handle that holds its lock while it is open."""
    while True:
        handle, name = tempfile.mkstemp(PARTIAL, f".{path.name}.", path.parent)
        _try_lock(handle)
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)  # another process removed the file before it was locked


def _remove_remains(path: Path) -> None:
    """Remove temporary files of `path` whose processes have ended, and with them the locks."""
    for one in path.parent.iterdir():
        if one.name.startswith(f".{path.name}.") and one.name.endswith(PARTIAL):
            with contextlib.suppress(FileNotFoundError), one.open("rb") as file:
                if _try_lock(file.fileno()):
                    one.unlink()


def _try_lock(handle: int) -> bool:
    """Lock a file until its handle is closed, unless it is locked or no file can be."""
    try:
        return filelock.lock_descriptor(handle, blocking=False)
    except OSError:
        return False


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of `path`, so that one process makes the file or folder and others find it.

    The system releases the lock when the process ends, however it ends. The lock is an empty file
    beside `path`, `.NAME.lock`.

    Args:
        path: The file or folder; it need not exist.
        wait: Whether to wait for a process that holds the lock.

    Raises:
        TimeoutError: If another process holds the lock and `wait` is false.
        OSError: If the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The fallback is a lock that outlives a killed process. Without it, a file system that
    # cannot lock files is an error.
    lock = filelock.FileLock(_lock_file(path), fallback_to_soft=False)
    try:
        held = lock.acquire(blocking=False)
    except filelock.Timeout:
        if not wait:
            raise
        log.info("waiting for another process, which makes %s", path)
        held = lock.acquire()
    except OSError as error:
        raise OSError(
            f"{path} cannot be locked: {error}; without locks, two processes could destroy each"
            " other's work, so move the folder to a file system with locks"
        ) from error
    with held:
        yield


def _lock_file(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def discard(folder: Path) -> None:
    """Remove a folder atomically, with its lock: rename it to `<folder>.done`, then delete it.

    The remains of an earlier, interrupted removal are deleted too.

    Raises:
        FileNotFoundError: If the folder does not exist.
        TimeoutError: If another process holds the lock of the folder.
    """
    with locked(folder, wait=False):
        done = folder.with_name(f"{folder.name}.done")
        if done.exists():
            shutil.rmtree(done)
        try:
            shutil.rmtree(folder.rename(done))
        finally:
            # A process that waits for this lock notices that its file is gone, and makes another.
            _lock_file(folder).unlink()


def copy_folder(folder: Path, out: Path) -> None:
    """Copy a folder without what killed processes left in it; `out` is replaced."""
    if out.exists():
        shutil.rmtree(out)
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns(f".*{PARTIAL}"))


def write_checked(path: Path, values: Any) -> None:  # noqa: ANN401
    """Write values as JSON with a checksum, for `read_checked`."""
    checked = {"sha256": _checksum(values), "values": values}
    write_text(path, json.dumps(checked, sort_keys=True, allow_nan=False))


def read_checked(path: Path) -> Any:  # noqa: ANN401
    """Return the values that `write_checked` wrote; None if the file is missing or damaged.

    A damaged file, whatever it holds, is logged as a warning.
    """
    if not path.exists():
        return None
    try:
        found = read_json(path)
        if found.keys() == {"sha256", "values"} and found["sha256"] == _checksum(found["values"]):
            return found["values"]
    except (ValueError, AttributeError, RecursionError):
        pass
    log.warning("%s is damaged and is not used", path)
    return None


def _checksum(values: Any) -> str:  # noqa: ANN401
    text = json.dumps(values, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_json(path: Path, values: Any) -> None:  # noqa: ANN401
    """Write values as indented JSON with sorted keys, so that equal values give equal bytes."""
    text = json.dumps(values, indent=1, sort_keys=True, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path) -> Any:  # noqa: ANN401
    """Read a JSON file.

    Raises:
        ValueError: If the file is not valid JSON. NaN and infinite numbers are not.
    """
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: not valid JSON: {error}; correct or recreate the file"
        ) from error


def parse_json(text: str) -> Any:  # noqa: ANN401
    """Return the values of a JSON text.

    Raises:
        ValueError: If the text is not valid JSON, or has a number that is NaN or infinite.
        RecursionError: If the values are nested too deeply.
    """

    def number(text: str) -> float:
        if math.isfinite(value := float(text)):
            return value
        raise ValueError(f"the number {text[:40]} is not finite")

    return json.loads(text, parse_float=number, parse_constant=number)


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8")


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV with floats of 6 significant digits."""
    write_text(path, csv_text(table))


def csv_text(table: pd.DataFrame) -> str:
    """Return a table as CSV with floats of 6 significant digits."""
    return table.to_csv(index=False, float_format="%.6g", lineterminator="\n")


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
