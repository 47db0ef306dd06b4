from pathlib import Path

import pytest

from arcmix import local


@pytest.mark.parametrize(
    ("path", "place"),
    [("a/b", "/root/a/b"), ("../b", "/root/../b"), ("/c", "/c"), ("~/d", "/home/me/d")],
)
def test_a_relative_path_starts_at_the_root(
    path: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")

    assert local.place(path, Path("/root")) == Path(place)


def test_the_digest_covers_names_and_contents_and_no_order(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    a, b = tmp_path / "a", tmp_path / "b"

    found = local.digest([("a", a), ("b", b)])

    assert found == local.digest([("b", b), ("a", a)])
    others = [[("a", a)], [("a", a), ("c", b)], [("a", b), ("b", a)], [("a", a), ("b", a)]]
    assert len({found, *map(local.digest, others)}) == 5
