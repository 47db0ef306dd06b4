"""Downloads over HTTP with retries.

A failed attempt starts over: the archives are small, and GitHub, which packs them on request,
does not resume a download.
"""

import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import requests

from arcmix import files, program

CHUNK = 2**16
"""Bytes read at a time."""

RETRIED = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
"""Client errors that are retried; server errors (5xx) always are."""


@dataclass(frozen=True)
class Patience:
    """How often and how long a download is attempted."""

    attempts: int
    """Maximum number of attempts."""
    wait: float
    """Seconds before the second attempt; the wait doubles with each further attempt."""
    timeout: float
    """Seconds without data after which an attempt fails."""


PATIENCE = Patience(attempts=4, wait=1.0, timeout=30.0)
"""Without a network, a download fails after seven seconds."""


def download(url: str, path: Path, patience: Patience) -> None:
    """Download `url` to `path`, which appears only when the download is complete.

    Raises:
        OSError: If the last attempt fails, or the server answers with an error that is not
            retried.
    """
    for attempt in range(1, patience.attempts + 1):
        try:
            _attempt(url, path, patience.timeout)
        except requests.RequestException as error:
            if attempt == patience.attempts or not _is_transient(error):
                # The message lists every layer of the client; the cause comes last.
                _, caused, cause = str(error).rpartition("(Caused by ")
                raise OSError(cause.removesuffix(")") if caused else cause) from error
            time.sleep(patience.wait * 2 ** (attempt - 1))
        else:
            return


def _is_transient(error: requests.RequestException) -> bool:
    if error.response is None:
        return True
    status = error.response.status_code
    return status in RETRIED or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _attempt(url: str, path: Path, timeout: float) -> None:
    # Without this header, a server may compress the file and the client would unpack it.
    headers = {"Accept-Encoding": "identity"}
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
        response.raise_for_status()
        total = int(response.headers.get("Content-Length", 0))
        with (
            files.replacing(path) as new,
            new.open("wb") as file,
            program.progress(total, f"download {path.name}", "B") as bar,
        ):
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
