"""End a process when one of the programs that started it ends: a launcher, DVC, DVC's shell.

A program that is killed cannot end what it started. A stage without DVC would write to the outputs
of the next run, with a result that nothing records; a rank without its launcher would wait for the
others for days. So each looks for its starters, and ends without them. What it had saved, the next
start resumes.
"""

import itertools
import os
import threading
import time
from collections.abc import Sequence

import psutil

MARKS = {"DVC_STAGE", "RANK"}
"""Environment variables that only DVC and a launcher set, each for what it starts."""

INTERVAL = 1.0
"""Seconds between two looks."""


def starters() -> list[psutil.Process]:
    """Return the processes that this one must not outlive, from its parent upwards.

    They are those with the variables of a stage or a rank, and the one above, which set the
    variables. A program that was started by hand has none, so it may outlive its terminal.
    """
    found = []
    if MARKS & os.environ.keys():
        for parent in psutil.Process().parents():
            found.append(parent)
            if not MARKS & _variables(parent):
                break
    return found


def end_with(starters: Sequence[psutil.Process]) -> None:
    """End this process, in a thread and without further ado, soon after one of `starters` ends."""
    if starters:
        line = [psutil.Process(), *starters]
        threading.Thread(target=_end_without_parents, args=(line,), daemon=True).start()


def _variables(process: psutil.Process) -> set[str]:
    try:
        return {*process.environ()}
    except psutil.Error:  # a process of another user, or one that just ended
        return set()


def _end_without_parents(line: Sequence[psutil.Process]) -> None:
    while all(_is_child(one, parent) for one, parent in itertools.pairwise(line)):
        time.sleep(INTERVAL)
    os._exit(1)


def _is_child(process: psutil.Process, parent: psutil.Process) -> bool:
    # A process whose parent ends gets another one at once, even if the dead one stays a zombie.
    try:
        return process.ppid() == parent.pid
    except psutil.NoSuchProcess:
        return False
