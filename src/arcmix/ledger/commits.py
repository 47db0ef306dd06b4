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


def _first(repository: Path, code: str) -> tuple[int, str | None]:
    """Return the time of the commit, in seconds, and its hash."""
    written = hashlib.md5(f"{code}\n".encode(), usedforsecurity=False).hexdigest()
    command = ["git", "log", "--reverse", "--format=%ct %H", f"-S{written}", "--", LOCK]
    try:
        log = subprocess.run(  # noqa: S603 - the hash has hexadecimal digits only
            command, cwd=repository, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):  # no git, or no repository
        return 0, None
    time, _, commit = log.stdout.partition("\n")[0].partition(" ")
    return (int(time), commit) if commit else (0, None)
