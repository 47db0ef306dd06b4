"""Archives for tests: a repository with two small tasks, packed as by GitHub."""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from arcmix import parsing, tasks
from arcmix.config import origins

COMMIT = "0123456789" * 4
FILE = f"Mini-{COMMIT}.tar.gz"
TOP = f"Mini-{COMMIT}"


def task(color: int) -> dict[str, Any]:
    """Return a task with two pairs, one test and extra keys; its rule turns a row into a column."""
    pair = {"input": [[color, 0, 3]], "output": [[color], [0], [3]], "uuid": "x"}
    other = {"input": [[3, color]], "output": [[3], [color]]}
    return {"train": [pair, other], "test": [{"input": [[5, 5]], "output": [[5], [5]]}], "name": ""}


CONTENT: dict[str, bytes] = {
    f"{TOP}/LICENSE": b"free",
    f"{TOP}/data/easy/b.json": json.dumps(task(2)).encode(),
    f"{TOP}/data/easy/a.json": json.dumps(task(1)).encode(),
    f"{TOP}/data/hard/a.json": json.dumps(task(4)).encode(),
    # A pattern with three parts matches neither deeper nor higher files.
    f"{TOP}/data/easy/old/c.json": b"not a task",
    f"{TOP}/data/c.json": b"not a task",
}
FILES = {"training": ("data/easy/*.json",), "evaluation": ("data/hard/*.json",)}


def pack(path: Path, members: Iterable[tarfile.TarInfo | tuple[str, bytes]]) -> Path:
    """Write a .tar.gz file with (name, content) pairs and with members without content."""
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def header(kind: bytes, content: bytes = b"") -> bytes:
    """Return a member of some kind as the bytes of a tar file."""
    info = tarfile.TarInfo(f"{TOP}/x")
    info.type, info.size = kind, len(content)
    return info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def record(key: str, value: str) -> bytes:
    """Return an entry of a pax header, of less than 100 bytes."""
    length = len(key) + len(value) + 3
    length += len(str(length + 1))
    return f"{length} {key}={value}\n".encode()


def mirror(folder: Path) -> Path:
    """Return a new mirror folder that contains the repository."""
    folder.mkdir()
    pack(folder / FILE, CONTENT.items())
    return folder


def entry(**pins: object) -> origins.ArchiveSource:
    """Return the entry of the repository in `params.yaml` with some pins replaced."""
    values = [
        (name.rpartition("/")[2].removesuffix(".json"), split, None, json.loads(CONTENT[name]))
        for split, folder in (("training", "easy"), ("evaluation", "hard"))
        for name in CONTENT
        if name.count("/") == 3 and f"/{folder}/" in name
    ]
    digest = tasks.digest(parsing.parse(values, "mini", 30)[0])
    given = {"kind": "archive", "repository": "me/Mini", "commit": COMMIT, "files": FILES}
    given |= {"max_side": 30, "tasks": 3, "tests": 3, "digest": digest}
    return origins.ArchiveSource.model_validate(given | pins)
