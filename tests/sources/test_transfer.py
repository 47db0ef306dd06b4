import time
from collections.abc import Callable
from pathlib import Path

import pytest

from arcmix.sources import transfer

CONTENT = bytes(range(251)) * 800
HASTE = transfer.Limits(attempts=3, wait=0.01, timeout=0.3, deadline=30, size=2**20)


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
        f"{site.url}/file",
        tmp_path / "file",
        transfer.Limits(attempts=4, wait=0.05, timeout=1, deadline=30, size=2**20),
    )

    assert time.monotonic() - started >= 0.05 + 0.1 + 0.2


def test_download_fails_if_the_server_stalls(tmp_path: Path, serve: Callable) -> None:
    site = serve(CONTENT, "stall")

    with pytest.raises(OSError, match=r"Read timed out\.$"):
        transfer.download(
            f"{site.url}/file",
            tmp_path / "file",
            transfer.Limits(attempts=1, wait=0, timeout=0.2, deadline=30, size=2**20),
        )


@pytest.mark.parametrize("fault", ["drip", "drip headers"])
def test_download_fails_at_its_deadline_whatever_the_server_sends_by_then(
    fault: str, tmp_path: Path, serve: Callable
) -> None:
    site = serve(CONTENT, fault, fault, fault)
    started = time.monotonic()

    with pytest.raises(OSError, match=r"^the download is not complete after 0\.4 seconds$"):
        transfer.download(
            f"{site.url}/file",
            tmp_path / "file",
            transfer.Limits(attempts=3, wait=0, timeout=0.3, deadline=0.4, size=2**20),
        )

    assert time.monotonic() - started < 5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", ["endless", f"length={10**12}", f"length={'9' * 5000}"])
def test_download_fails_once_a_file_is_too_large(
    fault: str, tmp_path: Path, serve: Callable
) -> None:
    site = serve(CONTENT, fault)

    with pytest.raises(
        OSError, match=r"^the file has \d+ bytes or more, above the allowed 1048576$"
    ):
        transfer.download(f"{site.url}/file", tmp_path / "file", HASTE)

    assert len(site.asked) == 1
    assert list(tmp_path.iterdir()) == []


def test_download_rejects_a_file_that_the_server_packed(tmp_path: Path, serve: Callable) -> None:
    # Unpacked, a few bytes may be gigabytes.
    site = serve(CONTENT, "encoded")

    with pytest.raises(OSError, match=r"^the server encoded the file with gzip, unasked$"):
        transfer.download(f"{site.url}/file", tmp_path / "file", HASTE)


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1:9/file"])
def test_download_follows_no_redirect_out_of_the_web(
    place: str, tmp_path: Path, serve: Callable
) -> None:
    site = serve(CONTENT, place)

    with pytest.raises(OSError, match=f"^No connection adapters were found for '{place}'$"):
        transfer.download(f"{site.url}/file", tmp_path / "file", HASTE)

    assert site.asked == ["/file"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "status"),
    [
        pytest.param("http://me:S3CRET@127.0.0.1:PORT/f", "404", id="a password"),
        pytest.param("http://S3CRET@127.0.0.1:PORT/f", "404", id="a token"),
        pytest.param("http://127.0.0.1:PORT/f?token=S3CRET", "404", id="a query"),
        pytest.param("http://127.0.0.1:PORT/f", "http://127.0.0.1:9/?t=S3CRET", id="redirect"),
        pytest.param("http://127.0.0.1:PORT/f", "ftp://me:S3CRET@host/f", id="other scheme"),
        pytest.param("http://me:S3CRET@127.0.0.1:99999/f", "", id="no port"),
        pytest.param("http://me:S3CRET@[::1/f", "", id="no host"),
        pytest.param("http://me:S3CRET/@127.0.0.1:PORT/f", "", id="a slash"),
        pytest.param("http://me:S3CRET@:80/f", "", id="nothing"),
        pytest.param("http://me:S3CRET@\u2100.com/f", "", id="not a name"),
    ],
)
def test_no_error_shows_credentials(
    address: str, status: str, tmp_path: Path, serve: Callable
) -> None:
    site = serve(CONTENT, *[status] * 3)
    url = address.replace("PORT", site.url.rpartition(":")[2])

    with pytest.raises(OSError, match=r".") as caught:
        transfer.download(url, tmp_path / "file", HASTE)

    assert "S3CRET" not in str(caught.value)


def test_copy_refuses_what_is_not_a_file_or_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(2**20 + 1))
    (tmp_path / "zero").symlink_to("/dev/zero")

    with pytest.raises(OSError, match="1048577 bytes or more, above the allowed 1048576"):
        transfer.copy(tmp_path / "large", tmp_path / "new", HASTE)
    with pytest.raises(OSError, match="zero is not a regular file"):
        transfer.copy(tmp_path / "zero", tmp_path / "new", HASTE)

    assert not (tmp_path / "new").exists()
