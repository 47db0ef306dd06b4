"""The commits that hold the code of earlier rows.

`dvc.lock` has the hash of the file in which stage `code` writes the fingerprint of a run's code. So
the first commit whose `dvc.lock` has it also has that code, if results are committed with their
code, as `.ci/run` demands.
"""

import hashlib
import subprocess
from collections.abc import Iterable
from pathlib import Path

LOCK = "dvc.lock"
"""The file in which DVC keeps the hashes of the last run."""


def of_codes(repository: Path, codes: Iterable[str]) -> dict[str, str | None]:
    """Return code -> the first commit with results of this code, the newest commit first.

    The commit is None if there is none: the results were not committed, or git has not the history.
    Codes without a commit are the last, in their alphabetical order.

    Args:
        repository: A folder with a git repository.
        codes: Fingerprints of code (`fingerprints.fingerprint`).
    """
    found = {code: _first(repository, code) for code in sorted({*codes})}
    ordered = sorted(found, key=lambda code: -found[code][0])
    return {code: found[code][1] for code in ordered}


def text_at(repository: Path, commit: str, path: str) -> str:
    """Return the content of a file at a commit.

    Raises:
        subprocess.CalledProcessError: If the commit does not have it.
    """
    return _git(repository, "show", f"{commit}:{path}")


def _first(repository: Path, code: str) -> tuple[int, str | None]:
    """Return the time of the commit, in seconds, and its hash."""
    written = hashlib.md5(f"{code}\n".encode(), usedforsecurity=False).hexdigest()
    try:
        log = _git(repository, "log", "--reverse", "--format=%ct %H", f"-S{written}", "--", LOCK)
    except (OSError, subprocess.CalledProcessError):  # no git, or no repository
        return 0, None
    time, _, commit = log.partition("\n")[0].partition(" ")
    return (int(time), commit) if commit else (0, None)


def _git(repository: Path, *arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(  # noqa: S603 - hashes, and the names of our own files
        command, cwd=repository, capture_output=True, text=True, check=True
    )
    return done.stdout
