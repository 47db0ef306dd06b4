import re
import shutil
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


def test_extract_copies_one_file(tmp_path: Path) -> None:
    path = wheels.pack(tmp_path, MEMBERS)

    wheel.extract(path, "toy_gym/model.gguf", tmp_path / "new" / "model.gguf")

    assert (tmp_path / "new" / "model.gguf").read_text() == "weights" * 99


def test_extract_rejects_a_missing_file(tmp_path: Path) -> None:
    path = wheels.pack(tmp_path, MEMBERS)

    with pytest.raises(
        ValueError, match=r"toy_gym-1\.0-py3-none-any\.whl does not contain 'a\.gguf'"
    ):
        wheel.extract(path, "a.gguf", tmp_path / "a.gguf")

    assert not (tmp_path / "a.gguf").exists()
