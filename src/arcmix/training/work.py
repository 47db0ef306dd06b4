"""The work folder of a run: what a killed run resumes from, and an equal run finds.

The folder is named after all that the result depends on, so equal runs have one folder. A lock
makes them take turns. The folder outlives its run, because the result exists nowhere else until
DVC has it, and because an equal run, such as another one of a sweep, may have started meanwhile.
"""

import contextlib
import datetime as dt
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from arcmix import files
from arcmix.models import parallel

log = logging.getLogger("arcmix.work")

FINISHED = ".finished"
"""Name of the file that marks the folder of a finished run; no task has such a name."""

KEPT = 2
"""Number of folders of finished runs that are kept: of the last fine-tune and the last test-time
fine-tuning, if one experiment runs at a time."""

ABANDONED = dt.timedelta(days=30)
"""Time after the last checkpoint of an unfinished run until its folder is removed."""


@contextlib.contextmanager
def held(checkpoints: Path, key: str) -> Iterator[Path]:
    """Yield the work folder of a run, which no other run uses meanwhile; all ranks call this.

    After the block has succeeded, the folders of finished runs are removed, except the last ones,
    and those of abandoned runs.

    Args:
        checkpoints: The folder of all work folders.
        key: Name of the work folder (`files.key`).

    Raises:
        OSError: If the file system has no locks.
    """
    folder = checkpoints / key
    with contextlib.ExitStack() as lock:
        # The other ranks wait for rank 0 here. It alone holds the lock, until it has written all.
        parallel.from_main(lambda: lock.enter_context(files.locked(folder)))
        yield folder
        if parallel.is_main():
            files.write_text(folder / FINISHED, "")
            _remove_others(checkpoints)


def _remove_others(checkpoints: Path) -> None:
    # One process at a time, so that no folder disappears while it is looked at.
    with files.locked(checkpoints / "finished"):
        for remains in checkpoints.glob("*.done"):  # of a process killed by the removal
            shutil.rmtree(remains, ignore_errors=True)
        marks = sorted(checkpoints.glob(f"*/{FINISHED}"), key=lambda mark: mark.stat().st_mtime_ns)
        finished = [mark.parent for mark in marks]
        unfinished = [one for one in checkpoints.iterdir() if one.is_dir() and one not in finished]
        for folder in (*finished[:-KEPT], *filter(_is_abandoned, unfinished)):
            try:
                files.discard(folder)
            except TimeoutError:
                continue  # another run uses it
            except OSError as error:  # no reason for a run to fail that has its result
                log.warning("%s cannot be removed: %s", folder, error)


def _is_abandoned(folder: Path) -> bool:
    # A checkpoint, and a file that replaces another, change the folder's own time.
    return time.time() - folder.stat().st_mtime > ABANDONED.total_seconds()
