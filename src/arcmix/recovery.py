"""What puts a workspace right after a stage has failed.

DVC leaves the values of a failed run in `params.yaml`, and removes the outputs of a stage before it
starts the stage. So the next command fails as well, and files of `results/` are missing.
"""

import contextlib
import os
import shlex
import subprocess
import time
from pathlib import Path

from arcmix.config import overrides

CHECK = "check"
"""The stage that reads all of `params.yaml`."""

LIMIT = 6
"""Maximum number of values that are set back one by one."""


def hint() -> str:
    """Return the command that goes back to the last run, as the end of an error.

    Empty if there is nothing to put right: outside of DVC, in a queued run, which has a workspace
    of its own, or if neither a value nor a file differs from the last run.
    """
    here, root = Path.cwd(), os.environ.get("DVC_ROOT")
    if "DVC_STAGE" not in os.environ or root is None or Path(root).resolve() != here:
        return ""
    _reveal(here / "params.yaml")
    # The stage `check` alone reads the whole file, also what no other stage of the last run read.
    unread = _committed("params.yaml") if os.environ["DVC_STAGE"] == CHECK else ""
    try:
        changed = overrides.changed(here / "params.yaml", here / "dvc.lock", unread)
        gone = overrides.gone(here / "params.yaml", here / "dvc.lock")
    except (OSError, ValueError):  # the error itself says so where it matters
        changed, gone = [], False
    if changed and gone:
        back = "git checkout params.yaml"
        return f"; params.yaml keeps these values; to go back to the last commit: {back}"
    if changed:
        flags = " ".join(f"-S {value}" for value in changed)
        command = f"dvc exp run {flags}" if len(changed) <= LIMIT else "git checkout params.yaml"
        return (
            f"; params.yaml keeps these values, and those of the last run are back with: {command}"
        )
    if removed := _removed():
        names = " ".join(map(shlex.quote, removed))
        return (
            "; DVC removed the outputs of this stage, and those of the last commit are back with:"
            f" git checkout {names} && dvc checkout"
        )
    return ""


def _reveal(params: Path) -> None:
    """Let git see an edit of `params.yaml`, so that `git checkout params.yaml` undoes it.

    DVC restores the file and writes the new values within a moment. Git compares length and second
    of a file with those of the restored one, so it may take an edit of equal length for none.
    """
    with contextlib.suppress(OSError):  # without the right to do so, the edit is just not seen
        written = params.stat()
        os.utime(params, (written.st_atime, max(time.time(), written.st_mtime + 1)))


def _committed(name: str) -> str:
    """Return the text of a file as the last commit has it, empty if it has none."""
    return os.fsdecode(_git("show", f"HEAD:./{name}"))


def _removed() -> list[str]:
    """Return the files that git tracks and that are missing."""
    return [os.fsdecode(name) for name in _git("ls-files", "--deleted", "-z").split(b"\0") if name]


def _git(*arguments: str) -> bytes:
    """Return the output of git in the working directory, empty if there is none."""
    try:
        found = subprocess.run(["git", *arguments], capture_output=True, check=False)  # noqa: S603, S607
    except OSError:
        return b""
    return found.stdout
