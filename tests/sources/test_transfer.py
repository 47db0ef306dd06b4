import logging
import os
import subprocess
import sys
import threading
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
    ("manners", "ranges"),
    [
        pytest.param([], [None], id="plainly"),
        pytest.param(["503", "500"], [None, None, None], id="from a server that fails twice"),
        pytest.param(["429"], [None, None], id="from a busy server"),
        pytest.param(["cut", "cut"], [None, "bytes=65536-", "bytes=131072-"], id="piece by piece"),
        pytest.param(["stall"], [None, "bytes=65536-"], id="from a server that stalls"),
        pytest.param(["cut", "restart"], [None, "bytes=65536-"], id="from one that cannot resume"),
        pytest.param(["cut", "416"], [None, "bytes=65536-", None], id="from one that refuses"),
        pytest.param(["cut", "shift"], [None, "bytes=65536-", None], id="from one that errs"),
    ],
)
def test_download_gets_the_whole_file(
    manners: list[str], ranges: list[str | None], tmp_path: Path, serve: Callable
) -> None:
    site = serve(CONTENT, *manners)

    assert fetched(f"{site.url}/file", tmp_path / "file") == CONTENT
    assert [wanted for _, wanted in site.asked] == ranges


def test_download_goes_on_where_an_earlier_process_stopped(tmp_path: Path, serve: Callable) -> None:
    site = serve(CONTENT, "cut", "503", "503")
    with pytest.raises(OSError, match="503 Server Error: Service Unavailable"):
        fetched(f"{site.url}/file", tmp_path / "file")
    assert not (tmp_path / "file").exists()

    assert fetched(f"{site.url}/file", tmp_path / "file") == CONTENT
    assert site.asked[-1] == ("/file", "bytes=65536-")


def test_download_does_not_mix_the_parts_of_two_places(tmp_path: Path, serve: Callable) -> None:
    first, second = serve(CONTENT, "cut", "503", "503"), serve(CONTENT[::-1])
    with pytest.raises(OSError, match="503"):
        fetched(f"{first.url}/file", tmp_path / "file")

    transfer.download(f"{second.url}/file", tmp_path / "file", HASTE)

    assert (tmp_path / "file").read_bytes() == CONTENT[::-1]
    assert second.asked == [("/file", None)]


def test_download_does_not_insist_on_what_is_not_there(tmp_path: Path, serve: Callable) -> None:
    site = serve(CONTENT, "404")

    with pytest.raises(OSError, match=r"404 Client Error: Not Found for url: http://.*/f$"):
        transfer.download(f"{site.url}/f", tmp_path / "file", HASTE)

    assert len(site.asked) == 1
    assert list(tmp_path.iterdir()) == []


def test_download_says_why_there_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r'^NewConnectionError\(".*refused"\)$'):
        transfer.download("http://127.0.0.1:9/file", tmp_path / "file", HASTE)


def test_download_waits_longer_before_each_attempt(tmp_path: Path, serve: Callable) -> None:
    site = serve(CONTENT, "503", "503", "503")
    started = time.monotonic()

    transfer.download(
        f"{site.url}/file", tmp_path / "file", transfer.Patience(attempts=4, wait=0.05, timeout=1)
    )

    assert time.monotonic() - started >= 0.05 + 0.1 + 0.2


def test_download_does_not_wait_for_ever(tmp_path: Path, serve: Callable) -> None:
    site = serve(CONTENT, "stall")

    with pytest.raises(OSError, match=r"Read timed out\.$"):
        transfer.download(
            f"{site.url}/file",
            tmp_path / "file",
            transfer.Patience(attempts=1, wait=0, timeout=0.2),
        )


HOLD = """
import pathlib
import sys
import time
from arcmix.sources import transfer

with transfer.locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_is_waited_for_and_does_not_outlive_a_killed_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "arcmix")
    path = tmp_path / "cache" / "file"
    environment = os.environ | {"PYTHONPATH": str(Path(transfer.__file__).parents[2])}
    killed = threading.Event()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path], env=environment, stdout=subprocess.PIPE
    ) as holder:

        def kill() -> None:
            killed.set()
            holder.kill()

        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        threading.Timer(0.3, kill).start()
        with transfer.locked(path):
            assert killed.is_set()

    waiting = f"waiting for another process to release {tmp_path}/cache/.file.lock"
    assert caplog.messages == [waiting]
