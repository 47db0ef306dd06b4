"""Downloads over HTTP with retries and limits.

A failed attempt starts over: the archives are small, and GitHub, which packs them on request,
does not resume a download.

A server may send without end, or a byte at a time. So the size of a file is limited, and so is the
time of a download, whatever it waits for.
"""

import gzip
import lzma
import shutil
import struct
import tarfile
import threading
import zipfile
import zlib
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

import requests

from arcmix import files, program, redaction

CHUNK = 2**16
"""Bytes read at a time."""

READ_ERRORS = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    struct.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)
"""Errors that Python's readers of archives and of JSON raise if a file is damaged or hostile. A
RuntimeError may be that of a recursion which is too deep."""

RETRIED = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
"""Client errors that are retried; server errors (5xx) always are."""


@dataclass(frozen=True)
class Limits:
    """How often a download is attempted, how long it may take, and how large the file may be."""

    attempts: int
    """Maximum number of attempts."""
    wait: float
    """Seconds before the second attempt; the wait doubles with each further attempt."""
    timeout: float
    """Seconds without data after which an attempt fails."""
    deadline: float
    """Seconds after which the download fails, with all its attempts."""
    size: int
    """Maximum size of the file in bytes."""


LIMITS = Limits(attempts=4, wait=1.0, timeout=30.0, deadline=1800.0, size=2**28)
"""Without a network, a download fails after seven seconds. Our largest archive has 0.4 MB."""


def copy(place: Path, path: Path, limits: Limits = LIMITS) -> None:
    """Copy a file to `path`, which appears only when the copy is complete.

    Raises:
        OSError: If the file cannot be read, is not a regular file, or is too large.
    """
    size = place.stat().st_size
    if not place.is_file():
        raise OSError(f"{place} is not a regular file")
    _check_size(size, limits)
    with files.replacing(path) as new:
        shutil.copyfile(place, new)


def download(url: str, path: Path, limits: Limits = LIMITS) -> None:
    """Download `url` to `path`, which appears only when the download is complete.

    Raises:
        OSError: If the last attempt fails, the server answers with an error that is not retried,
            or a limit is exceeded.
    """
    with files.replacing(path) as new:
        work = _Download(url, new.open("wb"), path.name, limits)
        work.start()
        try:
            work.join(limits.deadline)
            if work.is_alive():
                raise OSError(f"the download is not complete after {limits.deadline:g} seconds")
        finally:
            work.given_up.set()
        if not work.complete:
            raise work.error or OSError("the download broke off")


class _Download(threading.Thread):
    """A thread that downloads a file.

    Nothing interrupts a socket that waits, so the program waits for the thread, and leaves it alone
    once the time is up. The thread then writes to a deleted file until it notices, or until the
    program ends.
    """

    def __init__(self, url: str, file: BinaryIO, what: str, limits: Limits) -> None:
        super().__init__(daemon=True)
        self._url, self._file, self._what, self._limits = url, file, what, limits
        self.given_up = threading.Event()
        self.complete = False
        self.error: OSError | None = None

    def run(self) -> None:
        """Download the file; this sets `complete` or `error`."""
        with self._file:
            try:
                self._attempts()
            except (OSError, ValueError) as error:
                self.error = OSError(_message(self._url, error))
                return
        self.complete = True

    def _attempts(self) -> None:
        for attempt in range(1, self._limits.attempts + 1):
            try:
                return self._attempt()
            except requests.RequestException as error:
                if attempt == self._limits.attempts or not _is_transient(error):
                    raise
            if self.given_up.wait(self._limits.wait * 2 ** (attempt - 1)):
                return None
        return None

    def _attempt(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        # Without this header, a server may compress the file and the client would unpack it.
        headers = {"Accept-Encoding": "identity"}
        timeout = self._limits.timeout
        with requests.get(self._url, headers=headers, stream=True, timeout=timeout) as response:
            response.raise_for_status()
            if (encoding := response.headers.get("Content-Encoding", "identity")) != "identity":
                raise OSError(f"the server encoded the file with {encoding}, unasked")
            length = response.headers.get("Content-Length", "")
            total = int(length[:20]) if length.isdecimal() else 0
            _check_size(total, self._limits)
            with program.progress(total, f"download {self._what}", "B") as bar:
                for chunk in response.iter_content(CHUNK):
                    if self.given_up.is_set():
                        return
                    self._file.write(chunk)
                    bar.update(len(chunk))
                    _check_size(self._file.tell(), self._limits)


def _message(url: str, error: Exception) -> str:
    if isinstance(error, requests.exceptions.InvalidURL) and "@" in url:
        # The message may name a part of the password as the host.
        return "the address is not valid; in a user name or password, write special characters as %"
    # The message lists every layer of the client; the cause comes last.
    _, caused, cause = str(error).rpartition("(Caused by ")
    return redaction.redacted(cause.removesuffix(")") if caused else cause)


def _is_transient(error: requests.RequestException) -> bool:
    if error.response is None:
        # An address that is wrong, or is not one of the web, is a ValueError, too.
        return not isinstance(error, ValueError)
    status = error.response.status_code
    return status in RETRIED or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def explained(error: Exception) -> str:
    """Return the message of an error, with its type unless it is one that we raise."""
    return str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"


def _check_size(size: int, limits: Limits) -> None:
    if size > limits.size:
        raise OSError(f"the file has {size} bytes or more, above the allowed {limits.size}")
