import time
from collections.abc import Callable
from pathlib import Path

import pytest

from arcmix.sources import transfer

CONTENT = bytes(range(251)) * 800
HASTE = transfer.Patience(attempts=3, wait=0.01, timeout=0.3)


def fetched(url: str, path: Path) -> bytes:
    transfer.download(url, path, HASTE)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    return path.read_bytes()


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([], id="without a fault"),
        pytest.param(["503", "500"], id="after two server errors"),
        pytest.param(["429"], id="after too many requests"),
        pytest.param(["408"], id="after a request timeout"),
        pytest.param(["cut", "cut"], id="after two broken connections"),
        pytest.param(["stall"], id="after a stalled connection"),
    ],
)
def test_download_gets_the_whole_file(faults: list[str], tmp_path: Path, serve: Callable) -> None:
    site = serve(CONTENT, *faults)

    assert fetched(f"{site.url}/file", tmp_path / "file") == CONTENT
    assert site.asked == ["/file"] * (len(faults) + 1)


def test_a_failed_download_leaves_no_file(tmp_path: Path, serve: Callable) -> None:
    site = serve(CONTENT, "cut", "cut", "503")

    with pytest.raises(OSError, match="503 Server Error: Service Unavailable"):
        transfer.download(f"{site.url}/file", tmp_path / "file", HASTE)

    assert list(tmp_path.iterdir()) == []


def test_download_does_not_retry_a_client_error(tmp_path: Path, serve: Callable) -> None:
    site = serve(CONTENT, "404")

    with pytest.raises(OSError, match=r"404 Client Error: Not Found for url: http://.*/f$"):
        transfer.download(f"{site.url}/f", tmp_path / "file", HASTE)

    assert len(site.asked) == 1
    assert list(tmp_path.iterdir()) == []


def test_download_reports_why_no_connection_was_made(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r'^NewConnectionError\(".*refused"\)$'):
        transfer.download("http://127.0.0.1:9/file", tmp_path / "file", HASTE)


def test_download_waits_longer_before_each_attempt(tmp_path: Path, serve: Callable) -> None:
    site = serve(CONTENT, "503", "503", "503")
    started = time.monotonic()

    transfer.download(
        f"{site.url}/file", tmp_path / "file", transfer.Patience(attempts=4, wait=0.05, timeout=1)
    )

    assert time.monotonic() - started >= 0.05 + 0.1 + 0.2


def test_download_fails_if_the_server_stalls(tmp_path: Path, serve: Callable) -> None:
    site = serve(CONTENT, "stall")

    with pytest.raises(OSError, match=r"Read timed out\.$"):
        transfer.download(
            f"{site.url}/file",
            tmp_path / "file",
            transfer.Patience(attempts=1, wait=0, timeout=0.2),
        )
