"""A web server whose faults a test chooses."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Site:
    """A server's content, its faults, and the requests that it received."""

    url: str
    content: bytes
    faults: list[str]
    """The fault of each request in turn; later requests have none.

    A fault is a status, `cut`, `stall`, `drip` (a byte at a time, without end), `drip headers`,
    `endless`, the length that a header claims as `length=9`, `encoded`, or a place to redirect to.
    """
    asked: list[str] = field(default_factory=list)
    """Path of each request."""
    closing: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    """Answers with the content of `site`, or with its next fault."""

    site: Site

    def do_GET(self) -> None:
        """Answer one request."""
        self.site.asked.append(self.path)
        fault = self.site.faults.pop(0) if self.site.faults else ""
        if fault.isdigit():
            self.send_error(int(fault))
            return
        self.send_response(302 if "://" in fault else 200)
        if fault in ("drip", "drip headers", "endless"):
            self._send_without_end(fault)
            return
        content = self.site.content
        if "://" in fault:
            self.send_header("Location", fault)
        if fault == "encoded":
            self.send_header("Content-Encoding", "gzip")
        claimed = fault.removeprefix("length=") if "=" in fault else str(len(content))
        self.send_header("Content-Length", claimed)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if fault in ("cut", "stall") else content)
        if fault == "stall":
            self.wfile.flush()
            self.site.closing.wait(10)

    def _send_without_end(self, fault: str) -> None:
        if fault != "drip headers":
            self.end_headers()
        piece = bytes(2**16) if fault == "endless" else b"x"
        with contextlib.suppress(ConnectionError):
            self.wfile.write(b"X: " if fault == "drip headers" else b"")
            while not self.site.closing.wait(0 if fault == "endless" else 0.02):
                self.wfile.write(piece)

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def serve() -> Iterator[Callable[..., Site]]:
    """Return a function that starts a server of some bytes and returns its site."""
    servers = []

    def start(content: bytes, *faults: str) -> Site:
        site = Site("", content, list(faults))
        handler = type("Handler", (Handler,), {"site": site})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((site, server, thread))
        site.url = f"http://127.0.0.1:{server.server_port}"
        return site

    yield start
    for site, server, thread in servers:
        site.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
