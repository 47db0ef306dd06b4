"""Get a file once: over HTTP with resume and retries, into a cache that processes share."""

import contextlib
import hashlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import filelock
import requests

from arcmix import program

log = logging.getLogger("arcmix.transfer")

CHUNK = 2**16
"""Bytes read at a time."""

PASSING = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    HTTPStatus.TOO_MANY_REQUESTS,
}
"""Refusals that another attempt may not meet; server errors (5xx) are such, too."""


@dataclass(frozen=True)
class Patience:
    """How long a download is tried for."""

    attempts: int
    """Requests in all."""
    wait: float
    """Seconds before the second attempt; each further wait is twice the one before."""
    timeout: float
    """Seconds without an answer or a byte after which an attempt has failed."""


PATIENCE = Patience(attempts=4, wait=1.0, timeout=30.0)
"""Gives up on a machine without a network in seven seconds."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path`, so that one process creates the file and the others find it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The fallback is a lock that outlives a killed process. Without it, a file system that
    # cannot lock files is an error.
    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"), fallback_to_soft=False)
    try:
        held = lock.acquire(blocking=False)
    except filelock.Timeout:
        log.info("waiting for another process to release %s", lock.lock_file)
        held = lock.acquire()
    with held:
        yield


def download(url: str, path: Path, patience: Patience) -> None:
    """Download `url` to `path`, which appears when it is complete.

    What an attempt got stays beside `path`, and the next one, in this process or a later
    one, asks for the rest only. The caller verifies the file: a server may change it
    between two attempts.

    Raises:
        OSError: If the last attempt failed, or the server refused for good.
    """
    # Parts of two mirrors need not fit together.
    part = path.with_name(f".{path.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")
    for attempt in range(patience.attempts):
        if attempt:
            time.sleep(patience.wait * 2 ** (attempt - 1))
        try:
            _append(url, part, patience.timeout)
        except requests.RequestException as error:
            if not _may_pass(error) or attempt == patience.attempts - 1:
                # requests tells its whole stack; the cause is at the end, in parentheses.
                _, caused, cause = str(error).rpartition("(Caused by ")
                raise OSError(cause.removesuffix(")") if caused else cause) from error
        else:
            part.replace(path)
            return


def _may_pass(error: requests.RequestException) -> bool:
    if error.response is None:
        return True
    status = error.response.status_code
    return status in PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _append(url: str, part: Path, timeout: float) -> None:
    """Get the bytes of `url` that `part` lacks; all of them if the server cannot resume."""
    held = part.stat().st_size if part.exists() else 0
    # An archive stays compressed: bytes on the wire are bytes of the file.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={held}-"} if held else {})
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()  # as long as the file, or longer: nothing to build upon
        response.raise_for_status()
        resumed = response.status_code == HTTPStatus.PARTIAL_CONTENT
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {held}-"):
            part.unlink()
            raise requests.ConnectionError(f"{url} did not resume at byte {held}")
        held = held if resumed else 0
        total = held + int(response.headers.get("Content-Length", 0))
        with (
            part.open("ab" if resumed else "wb") as file,
            program.progress(total, f"download {url.rpartition('/')[2]}", "B") as bar,
        ):
            bar.update(held)
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
