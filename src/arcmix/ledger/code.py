"""The code behind a number: a hash of what a program and all that it imports do.

Stage `code` writes the hash of each stage's program, on which DVC reruns the stage. The hash is of
the syntax trees without comments, layout and docstrings, so a better explanation reruns nothing.
"""

import ast
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from arcmix import syntax

LENGTH = 12
"""Hexadecimal digits of a fingerprint."""

LEFT_OUT = ("origins.py", "params.py", "scales.py", "schema.py")
"""Modules of the package `config` that no fingerprint counts: they hold types and no values, and a
value that they let through reaches the results by way of `params.yaml`."""

AROUND = ("code", "check", "report", "record", "ablation")
"""Programs that change none of a run's numbers."""


def programs(folder: Path) -> list[Path]:
    """Return all programs of a folder, by name."""
    return [file for file in sorted(folder.glob("*.py")) if file.stem != "__init__"]


def fingerprints(programs: Iterable[Path], library: Path) -> dict[str, str]:
    """Return the fingerprint of each program by its name, and that of a run as `all`.

    A run's fingerprint covers the programs that make its numbers: all but those in `AROUND`.

    Args:
        programs: Python files.
        library: The folder of the package that they import from.
    """
    found = [*programs]
    each = {file.stem: fingerprint([file], library) for file in found}
    run = [file for file in found if file.stem not in AROUND]
    return each | {"all": fingerprint(run, library)}


def fingerprint(programs: Iterable[Path], library: Path) -> str:
    """Return the hash of the closures of some programs, in 12 hexadecimal digits."""
    found = set().union(*(closure(program, library) for program in programs))
    root = library.parent
    content = sorted(
        ([*file.relative_to(root if root in file.parents else file.parent).parts], _content(file))
        for file in found
    )
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:LENGTH]


def closure(program: Path, library: Path) -> set[Path]:
    """Return a program, every library module that it imports, directly or not, and their data.

    An import counts wherever it stands: in a function, or for the type checker only. Left out are
    `LEFT_OUT`, and `__init__.py` files that hold nothing but a docstring. A module's data are the
    files beside it, and in folders beside it, that are no Python modules. An import by a computed
    name is not seen: do without it.

    Args:
        program: A Python file.
        library: The folder of the package that it imports from.
    """
    left_out = {library / "config" / name for name in LEFT_OUT}
    found, todo = set(), [program]
    while todo:
        file = todo.pop()
        found.add(file)
        if library in file.parents:
            found.update(_data(file.parent))
        imported = set(_imported(file, library.parent)) - left_out
        todo += imported - found
    return found


def _data(folder: Path) -> Iterator[Path]:
    """Yield the files of a package that are no modules, those of its subpackages left out."""
    for path in folder.iterdir():
        if path.is_dir() and path.name != "__pycache__" and not (path / "__init__.py").exists():
            yield from (file for file in path.rglob("*") if file.is_file())
        elif path.is_file() and path.suffix != ".py":
            yield path


def _content(file: Path) -> str:
    """Return what a file does: its syntax tree as JSON, or the hash of a file of data."""
    if file.suffix == ".py":
        return _canonical_text(file.read_text(encoding="utf-8"))
    return hashlib.sha256(file.read_bytes()).hexdigest()


@functools.cache
def _canonical_text(text: str) -> str:
    return json.dumps(syntax.canonical(_parsed(text)))


@functools.cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


def _tree(file: Path) -> ast.Module:
    try:
        return _parsed(file.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ValueError(f"{file}: no Python that can be parsed: {error}; correct it") from error


def _imported(file: Path, root: Path) -> Iterator[Path]:
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Import):
            names = [(root, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = file.parents[node.level - 1] if node.level else root
            module = f"{node.module}." if node.module else ""
            # What is imported may be a module of a package or a name inside a module.
            names = [(start, module + alias.name) for alias in node.names]
        else:
            continue
        for start, name in names:
            yield from _files(start, name)


def _files(start: Path, name: str) -> Iterator[Path]:
    place = start
    for part in name.split("."):
        place /= part
        module, package = place.with_name(f"{part}.py"), place / "__init__.py"
        if module.is_file():
            yield module
        if package.is_file() and not all(map(syntax.is_docstring, _tree(package).body)):
            yield package
