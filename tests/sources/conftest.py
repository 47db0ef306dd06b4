"""A web server that behaves as it is told to, one request after another."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from arcmix.sources.transfer import CHUNK

PIECE = CHUNK + 7
"""Bytes that a bad server sends; the client writes whole chunks."""


@dataclass
class Site:
    """What a server does, and what it was asked."""

    url: str
    content: bytes
    manners: list[str]
    """What it does with each request in turn, then `resume` for ever."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range header of each request."""
    closing: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    """Answers by the manners of `site`."""

    site: Site

    def do_GET(self) -> None:
        """Answer one request."""
        wanted = self.headers["Range"]
        self.site.asked.append((self.path, wanted))
        manner = self.site.manners.pop(0) if self.site.manners else "resume"
        if manner.isdigit():
            self.send_error(int(manner))
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        start = 0 if manner == "restart" else start
        content = self.site.content
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            first = start - 1 if manner == "shift" else start
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = start + PIECE if manner in ("cut", "stall") else len(content)
        self.wfile.write(content[start:end])
        if manner == "stall":
            self.wfile.flush()
            self.site.closing.wait(10)

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def serve() -> Iterator[Callable[..., Site]]:
    """Return a function that starts a server of some bytes and returns its site."""
    servers = []

    def start(content: bytes, *manners: str) -> Site:
        site = Site("", content, list(manners))
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
