"""The import closure of a program, and a fingerprint of its code.

DVC reruns a stage if a file of its closure changes. A row of the ledger is stale if the
fingerprint changes. The fingerprint is a hash of the syntax tree without docstrings, comments
and layout, so better documentation does not make a result stale.
"""

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

LENGTH = 12
"""Hexadecimal digits of a fingerprint."""

LEFT_OUT = ("params.py", "scales.py", "schema.py")
"""Files that are not part of a closure. Every program imports them, but they define only the types
of values; the values themselves come from `params.yaml`."""

AROUND = ("check", "report", "record", "ablation")
"""Programs that do not change the numbers of a run."""


def programs(folder: Path) -> list[Path]:
    """Return the programs that compute a run's numbers: all except `AROUND`."""
    return [file for file in sorted(folder.glob("*.py")) if file.stem not in ("__init__", *AROUND)]


def closure(program: Path, library: Path) -> set[Path]:
    """Return a program and all library files that it imports, directly or indirectly.

    All import statements count, also those in functions and for the type checker. The closure
    excludes `LEFT_OUT` and each `__init__.py` that contains only a docstring. It misses data
    files and imports by a computed name, so the library must not use them.

    Args:
        program: A Python file.
        library: Folder of the package that it imports from.
    """
    found, todo = set(), [program]
    while todo:
        file = todo.pop()
        found.add(file)
        imported = set(_imported(file, library.parent)) - {library / name for name in LEFT_OUT}
        todo += imported - found
    return found


def fingerprint(programs: Iterable[Path], library: Path) -> str:
    """Return a hash of the closures of programs, 12 hexadecimal digits long."""
    found = set().union(*(closure(program, library) for program in programs))
    trees = sorted((list(file.parts[-2:]), _canonical(_tree(file))) for file in found)
    return hashlib.sha256(json.dumps(trees).encode()).hexdigest()[:LENGTH]


def key(program: Path, values: str, inputs: Iterable[Path]) -> str:
    """Return a hash of all that a program's result depends on, to name its checkpoints.

    Args:
        program: The program.
        values: Its parameters as text.
        inputs: Files and folders that it reads.
    """
    found = f"{values}\n{fingerprint([program], Path(__file__).parent)}\n{digest(inputs)}"
    return hashlib.sha256(found.encode()).hexdigest()[:16]


def digest(inputs: Iterable[Path]) -> str:
    """Return a sha256 of files and of folders, including the names in a folder."""
    found = hashlib.sha256()
    for path in inputs:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            found.update(f"{file.relative_to(path)}\n".encode())
            if file.is_dir():
                continue
            with file.open("rb") as opened:
                found.update(hashlib.file_digest(opened, "sha256").digest())
    return found.hexdigest()


def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), filename=str(file))


def _imported(file: Path, root: Path) -> Iterator[Path]:
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Import):
            names = [(root, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = file.parents[node.level - 1] if node.level else root
            module = f"{node.module}." if node.module else ""
            # An imported name is a module of a package or a name in a module.
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
        if package.is_file() and not all(map(_is_docstring, _tree(package).body)):
            yield package


def _canonical(node: object) -> object:
    """Return a syntax tree as lists, without docstrings.

    Empty fields are dropped, because the set of fields differs between Python versions.
    """
    if isinstance(node, ast.AST):
        fields = {name: _canonical(value) for name, value in ast.iter_fields(node)}
        return [type(node).__name__, {name: value for name, value in fields.items() if value}]
    if isinstance(node, list):
        return [_canonical(item) for item in node if not _is_docstring(item)]
    return None if node is None else repr(node)


def _is_docstring(node: object) -> bool:
    """Return whether a node is a string expression, such as a docstring."""
    match node:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
    return False
