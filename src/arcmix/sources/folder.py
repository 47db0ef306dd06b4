"""Tasks from local files: JSON, JSON lines, and zip files of them.

`shapes` tells how a file holds its tasks. The two files of a competition of Kaggle belong
together: `NAME_challenges.json` has the tests, and `NAME_solutions.json` their outputs. A zip file
is read like a folder of its name and never extracted. Sizes are limited, because data is often
somebody else's.
"""

import contextlib
import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from arcmix import files, local, parsing
from arcmix.config import origins
from arcmix.sources import archive, pins, shapes, transfer

TYPES = (".json", ".jsonl", ".zip")
"""Ends of the names of files that are read."""
MAX_FILES = 500_000
"""Maximum number of files, also in zip files."""
MAX_FILE = 2**28
"""Maximum size of a JSON file in bytes, and of a line of JSON lines."""
MAX_TOTAL = 2**33
"""Maximum size of all files in bytes, unpacked."""

CHALLENGES, SOLUTIONS = "_challenges.json", "_solutions.json"
"""Ends of the names of Kaggle's two files."""


@dataclass(frozen=True)
class _File:
    """A file in the folder or in a zip file."""

    path: PurePosixPath
    """Path relative to the folder."""
    opened: Callable[[], contextlib.AbstractContextManager[IO[bytes]]]


def load(name: str, source: origins.FolderSource, root: Path) -> pins.Loaded:
    """Return the tasks of local files.

    Args:
        name: Name of the source.
        source: Its path, its patterns and settings, and its pins.
        root: The repository, where a relative path starts.

    Raises:
        OSError: If the path does not exist or a file cannot be read.
        ValueError: If a file is damaged, too large or of no known shape, or the tasks differ from
            the pins.
    """
    place = local.place(source.path, root)
    return pins.verified(name, _values(name, source, root), source, str(place))


def listed(name: str, path: str, root: Path) -> list[tuple[PurePosixPath, Path]]:
    """Return the files that a source may read, with their paths in its folder.

    Hidden files, and files of other types, are none of them.

    Args:
        name: Name of the source, for errors.
        path: A folder, or one file.
        root: The repository, where a relative path starts.

    Raises:
        OSError: If the path does not exist.
    """
    place = local.place(path, root)
    if place.is_file():
        return [(PurePosixPath(place.name), place)]
    if not place.is_dir():
        raise OSError(
            f"sources.{name}.path: {path} is {place}, which does not exist; give the path of a"
            f" folder or a file, absolute or relative to {root.absolute()}"
        )
    found = [
        (PurePosixPath(file.relative_to(place).as_posix()), file)
        for file in sorted(place.rglob("*"))
        if file.suffix in TYPES and file.is_file()
    ]
    found = [(inner, file) for inner, file in found if not _is_hidden(inner)]
    if not found:
        raise OSError(
            f"sources.{name}.path: {place} has no file of the types {', '.join(TYPES)}; give the"
            " path of a folder of tasks"
        )
    return found


def _is_hidden(path: PurePosixPath) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _values(name: str, source: origins.FolderSource, root: Path) -> Iterator[parsing.Value]:
    with contextlib.ExitStack() as stack:
        found = {one.path: one for one in _files(listed(name, source.path, root), stack)}
        if len(found) > MAX_FILES:
            raise ValueError(f"{name} has more than the allowed {MAX_FILES} files")
        left = _Budget(MAX_TOTAL)
        for path, file in found.items():
            named = _named(path, source.files)
            if named is None or (
                path.name.endswith(SOLUTIONS) and _partner(path, SOLUTIONS, CHALLENGES) in found
            ):
                continue
            solutions = found.get(_partner(path, CHALLENGES, SOLUTIONS))
            try:
                for id_, value in _read(file, solutions, source.examples, left):
                    yield id_, *named, value
            except transfer.READ_ERRORS as error:
                place = local.place(source.path, root)
                where = place if place.is_file() and path.name == place.name else place / path
                raise ValueError(f"{where}: {transfer.explained(error)}") from error


def _files(found: list[tuple[PurePosixPath, Path]], stack: contextlib.ExitStack) -> Iterator[_File]:
    """Yield the files, with those in zip files, which stay open while the stack does."""
    for inner, file in found:
        if file.suffix != ".zip":
            yield _File(inner, lambda file=file: file.open("rb"))
            continue
        try:
            packed = stack.enter_context(zipfile.ZipFile(file))
            members = packed.infolist()
        except transfer.READ_ERRORS as error:
            raise ValueError(f"{file} is damaged: {transfer.explained(error)}") from error
        for member in members:
            path = inner / member.filename
            if path.suffix in TYPES[:2] and not member.is_dir() and not _is_hidden(path):
                yield _File(path, lambda packed=packed, member=member: packed.open(member))


def _named(
    path: PurePosixPath, splits: Mapping[str, tuple[str, ...]] | None
) -> tuple[str, str | None] | None:
    return ("training", None) if splits is None else archive.named(path, splits)


def _partner(path: PurePosixPath, end: str, other: str) -> PurePosixPath:
    return path.with_name(path.name.removesuffix(end) + other)


class _Budget:
    """The number of bytes that may still be read."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, read: Callable[[int], bytes]) -> bytes:
        """Return the next part of a file, which is limited to `MAX_FILE`."""
        found = read(MAX_FILE + 1)
        self._left -= len(found)
        if len(found) > MAX_FILE:
            raise ValueError(
                f"the file, or a line of it, has more than the allowed {MAX_FILE} bytes; split it"
            )
        if self._left < 0:
            raise ValueError(f"the files have more than the allowed {MAX_TOTAL} bytes")
        return found


def _read(
    file: _File, solutions: _File | None, examples: int | None, left: _Budget
) -> Iterator[shapes.Found]:
    """Yield the tasks of a file."""
    stem = file.path.stem
    if file.path.suffix == ".jsonl":
        with file.opened() as opened:
            for number, line in enumerate(iter(lambda: left.read(opened.readline), b"")):
                if line.strip():
                    value = _parsed(line, f"line {number + 1}: ")
                    id_ = shapes.record_id(value, f"{stem}-{number:06}")
                    yield from shapes.read(value, id_, examples)
        return
    value = _json(file, left)
    if file.path.name.endswith(CHALLENGES):
        value = solved(value, _json(solutions, left) if solutions else None)
    yield from shapes.read(value, stem, examples)


def _json(file: _File, left: _Budget) -> Any:  # noqa: ANN401
    with file.opened() as opened:
        return _parsed(left.read(opened.read), "")


def _parsed(content: bytes, where: str) -> Any:  # noqa: ANN401
    try:
        return files.parse_json(io.TextIOWrapper(io.BytesIO(content), "utf-8-sig").read())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}not valid JSON: {error}") from error


def solved(challenges: Any, solutions: Any) -> Any:  # noqa: ANN401
    """Return the tasks of a challenges file of Kaggle with the outputs of their tests.

    Args:
        challenges: The parsed challenges: id -> task, whose tests have no outputs.
        solutions: The parsed solutions: id -> the output of each test; None without such a file.

    Raises:
        ValueError: If a task has no solutions, or another number of them than tests.
    """
    found = {}
    for id_, task in challenges.items() if isinstance(challenges, dict) else ():
        tests = task.get("test") if isinstance(task, dict) else None
        if not isinstance(tests, list) or not all(isinstance(test, dict) for test in tests):
            raise ValueError(f"task {id_!r} is no task: it has no list of tests")
        if all("output" in test for test in tests):
            found[id_] = task
            continue
        grids = solutions.get(id_) if isinstance(solutions, dict) else None
        if not isinstance(grids, list) or len(grids) != len(tests):
            raise ValueError(
                f"task {id_!r} has {len(tests)} tests without outputs, and"
                f" {len(grids) if isinstance(grids, list) else 'no'} solutions; put the file"
                f" NAME{SOLUTIONS} that belongs to it beside it; to answer hidden tests, use make"
                " answer"
            )
        pairs = zip(tests, grids, strict=True)
        found[id_] = task | {"test": [test | {"output": grid} for test, grid in pairs]}
    return found or challenges
