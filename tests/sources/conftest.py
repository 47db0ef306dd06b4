"""A web server whose faults a test chooses."""

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
    """The fault of each request in turn: a status, `cut` or `stall`. Later requests have none."""
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
        content = self.site.content
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if fault else content)
        if fault == "stall":
            self.wfile.flush()
            self.site.closing.wait(10)

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
