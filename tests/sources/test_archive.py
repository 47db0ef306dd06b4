import gzip
import json
import tarfile
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from arcmix.config import origins
from arcmix.sources import archive, pins, transfer
from tests.archives import (
    COMMIT,
    CONTENT,
    FILE,
    FILES,
    TOP,
    entry,
    header,
    mirror,
    pack,
    record,
    task,
)

HASTE = transfer.Limits(attempts=2, wait=0.01, timeout=0.3, deadline=30, size=2**20)
TASK = f"{TOP}/data/easy/a.json"


def load(
    cache: Path, place: Path | str, source: origins.ArchiveSource | None = None
) -> pins.Loaded:
    return archive.load(
        "mini", source or entry(), cache=cache, mirror=str(place), root=cache.parent, limits=HASTE
    )


def ids(loaded: pins.Loaded) -> list[tuple[str, str]]:
    return [(found.split, found.id) for found in loaded.tasks]


ALL = [("evaluation", "a"), ("training", "a"), ("training", "b")]


def link(name: str, kind: bytes, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_load_reads_the_files_that_match_the_patterns(tmp_path: Path) -> None:
    loaded = load(tmp_path / "cache", mirror(tmp_path / "mirror"))

    assert ids(loaded) == ALL
    assert loaded.origin == str(tmp_path / "cache" / FILE)


def test_the_group_of_a_task_is_the_folder_that_a_wildcard_matches(tmp_path: Path) -> None:
    content = json.dumps(task(1)).encode()
    names = ("corpus/Above/Above1", "corpus/Above/Above2", "corpus/Inside/Inside1", "Minimal/Above")
    path = pack(tmp_path / FILE, [(f"{TOP}/{name}.json", content) for name in names])
    splits = {"corpus": ("corpus/*/*.json",), "minimal": ("Minimal/*.json",)}

    assert [(id_, split, group) for id_, split, group, _ in archive.read(path, splits)] == [
        ("Above1", "corpus", "Above"),
        ("Above2", "corpus", "Above"),
        ("Inside1", "corpus", "Inside"),
        ("Above", "minimal", None),
    ]


def test_folders_that_several_wildcards_match_form_one_group(tmp_path: Path) -> None:
    path = pack(tmp_path / FILE, CONTENT.items())
    found = archive.read(path, {"training": ("d*a/ea*/*.json",)})

    assert {group for _, _, group, _ in found} == {"data/easy"}


def test_load_fetches_from_a_base_url(tmp_path: Path, serve: Callable) -> None:
    site = serve((mirror(tmp_path / "mirror") / FILE).read_bytes(), "503")

    assert ids(load(tmp_path / "cache", f"{site.url}/arc/")) == ALL
    assert site.asked == [f"/arc/{FILE}"] * 2


def test_a_cached_archive_is_not_fetched_again(tmp_path: Path, serve: Callable) -> None:
    site = serve((mirror(tmp_path / "mirror") / FILE).read_bytes())
    load(tmp_path / "cache", site.url)

    for place in (site.url, "github", tmp_path / "nowhere"):
        assert ids(load(tmp_path / "cache", place)) == ALL
    assert len(site.asked) == 1


def test_an_archive_that_a_mirror_folder_rebuilt_replaces_the_cached_one(tmp_path: Path) -> None:
    folder = mirror(tmp_path / "mirror")
    load(tmp_path / "cache", folder)
    other = {name: content for name, content in CONTENT.items() if "hard" not in name}
    pack(folder / FILE, other.items())

    with pytest.raises(ValueError, match="; found 2 tasks, 2 tests, digest "):
        load(tmp_path / "cache", folder)

    (folder / FILE).unlink()
    load(tmp_path / "cache", mirror(tmp_path / "other"))
    assert ids(load(tmp_path / "cache", folder)) == ALL  # the cached one is the pinned one


def test_a_relative_mirror_starts_at_the_repository(tmp_path: Path, monkeypatch) -> None:
    mirror(tmp_path / "mirror")
    (tmp_path / "queued").mkdir()
    monkeypatch.chdir(tmp_path / "queued")  # as the temporary clone of a queued run

    assert ids(load(tmp_path / "cache", "mirror")) == ALL
    with pytest.raises(OSError, match=f"cannot be fetched from {tmp_path}/nowhere/{FILE}"):
        load(tmp_path / "empty", "nowhere")


def test_concurrent_loads_fetch_an_archive_once(tmp_path: Path, serve: Callable) -> None:
    site = serve((mirror(tmp_path / "mirror") / FILE).read_bytes())
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(ids(load(tmp_path / "cache", site.url))))
        for _ in range(4)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [ALL] * 4
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    "place", [pytest.param("http://127.0.0.1:9/base", id="url"), pytest.param("/no/dir", id="dir")]
)
def test_an_archive_that_cannot_be_fetched_is_an_error_that_names_the_setting(
    place: str, tmp_path: Path
) -> None:
    message = (
        rf"^no archive of mini: it is not in the cache \({tmp_path}/{FILE}\) and cannot be fetched"
        rf" from {place}/{FILE}: .*; set mirror in params\.yaml, or"
        rf" ARCMIX_MIRROR in the environment, to a folder or base URL that contains {FILE}$"
    )
    with pytest.raises(OSError, match=message):
        load(tmp_path, place)

    assert [file.suffix for file in tmp_path.iterdir()] == [".lock"]


def test_the_default_mirror_is_the_archive_of_the_commit_on_github(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A proxy that does not exist simulates a machine without a network.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    url = f"https://github.com/me/Mini/archive/{COMMIT}.tar.gz"

    with pytest.raises(OSError, match=f"{url}: ProxyError.*; set mirror"):
        load(tmp_path, "github")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda whole: whole[:-20], "ended before the end-of-stream", id="truncated"),
        pytest.param(lambda whole: whole[:-5], "ended before", id="truncated in the checksum"),
        pytest.param(lambda _: b"<html>404</html>", "Not a gzipped file", id="a web page"),
        pytest.param(lambda _: b"", "empty file", id="nothing"),
        pytest.param(
            lambda _: gzip.compress(b"no tar" * 999), "is damaged or unsafe: ", id="no tar"
        ),
    ],
)
def test_a_damaged_archive_is_rejected_and_deleted(
    damage: Callable[[bytes], bytes], message: str, tmp_path: Path
) -> None:
    path = tmp_path / FILE
    load(tmp_path, mirror(tmp_path / "mirror"))
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(ValueError, match=rf"{message}.*; deleted {path}, so the next run"):
        load(tmp_path, "github")

    assert not path.exists()
    assert ids(load(tmp_path, tmp_path / "mirror")) == ALL


def test_a_corrupted_byte_is_rejected_at_any_position(tmp_path: Path) -> None:
    path = tmp_path / FILE
    whole = (mirror(tmp_path / "mirror") / FILE).read_bytes()
    # The time and file name in the header have no checksum and do not affect the content.
    content = whole.index(b"\0", 10) + 1
    flips = [0, 1, 2, *range(content, len(whole), 3), len(whole) - 1]

    for flip in flips:
        path.write_bytes(whole[:flip] + bytes([whole[flip] ^ 16]) + whole[flip + 1 :])
        with pytest.raises(ValueError, match="; deleted "):
            load(tmp_path, "github")
        assert not path.exists()


def test_tasks_that_differ_from_the_pins_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"expected 3 tasks, 3 tests, digest {'f' * 64}; found"):
        load(tmp_path, mirror(tmp_path / "mirror"), entry(digest="f" * 64))

    assert not (tmp_path / FILE).exists()
    assert (tmp_path / "mirror" / FILE).exists()


@pytest.mark.parametrize(
    ("member", "message"),
    [
        pytest.param((f"{TOP}/../../a.json", b"{}"), "outside the top-level folder", id="dots"),
        pytest.param(
            (f"/{TOP}/data/easy/c.json", b"{}"), "outside the top-level folder", id="root"
        ),
        pytest.param(
            ("b/data/easy/c.json", b"{}"), "is not in 'Mini-.*', the only folder", id="two tops"
        ),
        pytest.param(link(TASK, tarfile.SYMTYPE, "/etc/passwd"), "is a link", id="symlink"),
        pytest.param(link(TASK, tarfile.LNKTYPE, f"{TOP}/LICENSE"), "is a link", id="hard link"),
        pytest.param(link(TASK, tarfile.FIFOTYPE, ""), "is a link or a device", id="pipe"),
        pytest.param(
            (TASK, b"{}"), "two tasks of mini, split training, have the id 'a'", id="twice"
        ),
        pytest.param(
            (f"{TOP}/data/easy/c.json", b"\xff{"), "c.json' is not valid JSON", id="no JSON"
        ),
        pytest.param(
            (f"{TOP}/data/easy/c.json", b"[" * 10**5),
            "c.json' is not valid JSON: .*recursion",
            id="deep",
        ),
        pytest.param(
            (f"{TOP}/data/easy/c.json", bytes(archive.MAX_FILE + 1)),
            "c.json' has 1048577 bytes, more than the allowed 1048576",
            id="huge file",
        ),
    ],
)
def test_an_unsafe_archive_is_rejected(
    member: tarfile.TarInfo | tuple[str, bytes], message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "mirror"
    folder.mkdir()
    pack(folder / FILE, [*CONTENT.items(), member])

    with pytest.raises(ValueError, match=message):
        load(tmp_path / "cache", folder)

    assert [file.suffix for file in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_link_that_is_not_a_task_is_ignored(tmp_path: Path) -> None:
    other = link(f"{TOP}/venv/python", tarfile.SYMTYPE, "/usr/bin/python3")
    path = pack(tmp_path / FILE, [other, *CONTENT.items()])

    assert len(list(archive.read(path, FILES))) == 3


def test_an_archive_with_too_many_members_is_rejected(tmp_path: Path) -> None:
    header = tarfile.TarInfo(f"{TOP}/x").tobuf()
    path = tmp_path / FILE
    path.write_bytes(gzip.compress(header * (archive.MAX_MEMBERS + 1), 1))

    with pytest.raises(ValueError, match="more than the allowed 20000 members"):
        list(archive.read(path, FILES))


def test_an_archive_that_unpacks_to_too_many_bytes_is_rejected(tmp_path: Path) -> None:
    info = tarfile.TarInfo(f"{TOP}/x")
    info.size = 2 * archive.MAX_TOTAL
    zeros = gzip.compress(bytes(archive.MAX_TOTAL // 8), 1)
    path = tmp_path / FILE
    path.write_bytes(gzip.compress(info.tobuf()) + 9 * zeros)
    assert path.stat().st_size < 2**23

    with pytest.raises(ValueError, match="unpacks to more than the allowed 536870912 bytes"):
        list(archive.read(path, FILES))


def test_an_archive_whose_task_files_have_too_many_bytes_is_rejected(tmp_path: Path) -> None:
    content = b"{" + b" " * (archive.MAX_FILE - 2) + b"}"
    members = [(f"{TOP}/data/easy/{number}.json", content) for number in range(33)]
    path = pack(tmp_path / FILE, members)

    with pytest.raises(ValueError, match="task files have more than the allowed 33554432 bytes"):
        list(archive.read(path, FILES))


PAX, GLOBAL, LONG, SPARSE = b"x", b"g", b"L", b"S"
RECORDS = b"".join(record(f"k{number}", "v") for number in range(200_000))
HOSTILE = {
    "a thousand pax headers": header(PAX, record("a", "b")) * 1000 + header(b"0"),
    "a thousand long names": header(LONG, b"a\0") * 1000 + header(b"0"),
    "a large pax header": header(PAX, RECORDS) + header(b"0"),
    "a large global header": header(GLOBAL, RECORDS) + header(b"0"),
    "many parts": header(PAX, record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0"))
    + header(b"0", b"1000000\n" + b"1\n" * 2_000_000),
}
"""Contents of tar files that tarfile reads with much memory, or not at all."""


@pytest.mark.parametrize("before", [b"", header(b"0", bytes(2**15))], ids=["first", "later"])
@pytest.mark.parametrize("hostile", HOSTILE)
def test_an_archive_with_large_headers_is_rejected_before_they_fill_the_memory(
    hostile: str, before: bytes, tmp_path: Path
) -> None:
    path = tmp_path / FILE
    path.write_bytes(gzip.compress(before + HOSTILE[hostile], 1))

    tracemalloc.start()
    with pytest.raises(
        ValueError, match="unsafe: the headers of a member have more than the allowed 16384 bytes"
    ):
        list(archive.read(path, FILES))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 2**20


def test_the_headers_of_many_members_do_not_fill_the_memory(tmp_path: Path) -> None:
    parts = []
    for number in range(60):
        records = b"".join(record(f"k{number}-{one}", "v") for one in range(300))
        parts += [header(GLOBAL, records), header(PAX, records), header(b"0")]
    path = tmp_path / FILE
    path.write_bytes(gzip.compress(b"".join(parts) + bytes(1024), 1))

    tracemalloc.start()
    assert list(archive.read(path, FILES)) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 2**20


DAMAGED = {
    "a thousand headers": HOSTILE["a thousand pax headers"],
    "a header whose length is no number": header(PAX, b"0 a=b\n") + header(b"0"),
    "a header whose length overflows": header(PAX, b"9" * 20 + b" a=b\n") + header(b"0"),
    "headers without a member": header(PAX, b"9 path=\xff\n") * 9,
    "no tasks": header(b"0"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_after_any_damage_the_next_run_fetches_the_archive_again(
    damage: str, tmp_path: Path
) -> None:
    folder = mirror(tmp_path / "mirror")
    good = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(gzip.compress(DAMAGED[damage], 1))

    with pytest.raises(ValueError, match=f"; deleted {tmp_path}/cache/{FILE}, so the next run"):
        load(tmp_path / "cache", folder)

    (folder / FILE).write_bytes(good)
    assert ids(load(tmp_path / "cache", folder)) == ALL


@pytest.mark.parametrize("place", ["ftp://host/arc", "file:///etc", "s3://me:S3CRET@bucket"])
def test_a_mirror_is_a_folder_or_on_the_web(place: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is not allowed; allowed are github, an http") as caught:
        load(tmp_path, place)

    assert "S3CRET" not in str(caught.value)


def test_the_query_of_a_base_url_stays_behind_the_file(tmp_path: Path, serve: Callable) -> None:
    site = serve((mirror(tmp_path / "mirror") / FILE).read_bytes())

    assert ids(load(tmp_path / "cache", f"{site.url}/arc?token=S3CRET")) == ALL
    assert site.asked == [f"/arc/{FILE}?token=S3CRET"]


@pytest.mark.parametrize("content", [b"", None], ids=["damaged", "absent"])
def test_no_error_about_an_archive_shows_credentials(
    content: bytes | None, tmp_path: Path, serve: Callable
) -> None:
    site = serve(b"" if content is None else content, *["404"] * (content is None))
    address = site.url.replace("//", "//me:S3CRET@") + "/arc?token=S3CRET"

    with pytest.raises((OSError, ValueError), match=r"//\*\*\*@127\.0\.0\.1") as caught:
        load(tmp_path, address)

    assert "S3CRET" not in str(caught.value)


def test_an_archive_from_the_tar_command_is_read(tmp_path: Path) -> None:
    # It has folders as members, and names that start with a dot.
    folder = tarfile.TarInfo(f"./{TOP}")
    folder.type = tarfile.DIRTYPE
    members = [(f"./{name}", content) for name, content in CONTENT.items()]
    path = pack(tmp_path / FILE, [folder, *members])

    assert sorted(split for _, split, *_ in archive.read(path, FILES)) == [
        "evaluation",
        "training",
        "training",
    ]
