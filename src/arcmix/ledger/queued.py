"""DVC's queue of experiments: what is in it, and what a killed worker left behind.

DVC says that an experiment runs until its worker has collected it. A worker that is killed never
does, so its experiments would run forever. Such an experiment is lost: it has no process and no
worker.
"""

import contextlib
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.repo.experiments.executor.base import ExecutorInfo

if TYPE_CHECKING:
    from dvc.repo.experiments.queue.base import QueueEntry
    from dvc.repo.experiments.queue.celery import LocalCeleryQueue

QUEUED, RUNNING, LOST, FAILED, DONE = "queued", "running", "lost", "failed", "done"
"""States of an experiment."""


@dataclass(frozen=True)
class Entry:
    """An experiment of the queue."""

    name: str
    """Name of the experiment."""
    state: str
    """`QUEUED`, `RUNNING`, `LOST`, `FAILED` or `DONE`."""
    revision: str
    """The commit with its code and values."""
    log: Path | None
    """What the experiment printed; None before it starts."""


def entries(repository: Path) -> dict[str, Entry]:
    """Return name -> the experiment in the queue; of those with one name, one that has not ended.

    Args:
        repository: Root of the repository.
    """
    with _opened(repository) as queue:
        active = [*queue.iter_active()]
        doubtful = [one.stash_rev for one in active if not _has_process(queue, one)]
        held = _held(queue) if doubtful else set()
        found = [*_ended(queue)]
        found += [
            (one, LOST if one.stash_rev in doubtful and one.stash_rev not in held else RUNNING)
            for one in active
        ]
        found += [(one, QUEUED) for one in queue.iter_queued()]
        return {
            one.name: Entry(one.name, state, one.stash_rev, _log(queue, one))
            for one, state in found
            if one.name
        }


def drop(repository: Path, entry: Entry) -> None:
    """Remove an experiment that does not run from the queue, with the clone that it worked in.

    Args:
        repository: Root of the repository.
        entry: The experiment.
    """
    with _opened(repository) as queue:
        if entry.state == LOST:
            queue.kill([entry.name])  # it has no process, so this marks it as failed
            info = Path(queue.get_infofile_path(entry.revision))
            if info.exists():  # a worker may end before it makes a clone
                clone = Path(ExecutorInfo.load_json(str(info)).root_dir)
                if (repository / ".dvc/tmp").resolve() in clone.resolve().parents:
                    shutil.rmtree(clone, ignore_errors=True)
        queue.remove([entry.name])


def _ended(queue: "LocalCeleryQueue") -> Iterator[tuple["QueueEntry", str]]:
    """Yield the experiments that ended, and whether they are `DONE` or `FAILED`.

    DVC's public lists, such as `iter_failed`, read all messages of the queue again for each one.
    """
    for _, entry in queue._iter_done_tasks():  # noqa: SLF001 - reads each message once
        info = Path(queue.get_infofile_path(entry.stash_rev))
        result = ExecutorInfo.load_json(str(info)).result if info.exists() else None
        yield entry, DONE if result and result.exp_hash and result.ref_info else FAILED


def _has_process(queue: "LocalCeleryQueue", entry: "QueueEntry") -> bool:
    process = queue.proc.get(entry.stash_rev)
    if process is None or process.returncode is not None:
        return False
    try:  # another process may have its number
        return any(entry.stash_rev in word for word in psutil.Process(process.pid).cmdline())
    except psutil.Error:
        return False


def _held(queue: "LocalCeleryQueue") -> set[str]:
    """Return the revisions of the experiments that the living workers prepare, run or collect."""
    tasks = [task for own in queue.worker_status().values() for task in own]
    return {
        word["stash_rev"]
        for task in tasks
        for word in task.get("args", [])
        if isinstance(word, dict) and "stash_rev" in word
    }


def _log(queue: "LocalCeleryQueue", entry: "QueueEntry") -> Path | None:
    process = queue.proc.get(entry.stash_rev)
    return Path(process.stdout) if process and process.stdout else None


@contextlib.contextmanager
def _opened(repository: Path) -> Iterator["LocalCeleryQueue"]:
    """Open the queue of a repository, and turn DVC's errors into `ValueError`."""
    # It warns that the host is this machine, on which the queue is a folder.
    logging.getLogger("kombu.connection").setLevel(logging.ERROR)
    try:
        with Repo(str(repository)) as opened:
            yield opened.experiments.celery_queue
    except DvcException as error:
        raise ValueError(f"{repository}: {error}") from error
