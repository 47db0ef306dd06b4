"""The code behind a number: which files a program is made of, and a hash of what they do.

DVC reruns a stage when a file of its closure changes, and a row of the ledger is stale
when the hash does. The hash is of the syntax tree without comments, layout and
docstrings, so that a better explanation makes no result stale.
"""

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

LENGTH = 12
"""Hexadecimal digits of a fingerprint."""

LEFT_OUT = ("params.py", "schema.py")
"""They hold no values, only their types, and every program imports them; a value that they
let through reaches the results by way of `params.yaml`."""

AROUND = ("check", "report", "record", "ablation")
"""Programs that look at a run from outside and change none of its numbers."""


def programs(folder: Path) -> list[Path]:
    """Return the programs that make a run's numbers; a new program counts as one."""
    return [file for file in sorted(folder.glob("*.py")) if file.stem not in ("__init__", *AROUND)]


def closure(program: Path, library: Path) -> set[Path]:
    """Return a program and every library file that it imports, directly or not.

    An import counts wherever it stands: in a function, or for the type checker only. Left
    out are `LEFT_OUT` and packages' `__init__.py` that hold nothing but a docstring. Not
    seen are imports by a computed name and a module's data files: do without them.

    Args:
        program: A Python file.
        library: The folder of the package that it imports from.
    """
    found, todo = set(), [program]
    while todo:
        file = todo.pop()
        found.add(file)
        imported = set(_imported(file, library.parent)) - {library / name for name in LEFT_OUT}
        todo += imported - found
    return found


def fingerprint(programs: Iterable[Path], library: Path) -> str:
    """Return a hash of the closures of some programs, in 12 hexadecimal digits."""
    found = set().union(*(closure(program, library) for program in programs))
    trees = sorted((list(file.parts[-2:]), _canonical(_tree(file))) for file in found)
    return hashlib.sha256(json.dumps(trees).encode()).hexdigest()[:LENGTH]


def key(program: Path, values: str, inputs: Iterable[Path]) -> str:
    """Return a name for what a program's result depends on, for the folder of its unfinished work.

    Args:
        program: The program.
        values: Its parameters as text.
        inputs: The files and folders that it reads.
    """
    found = f"{values}\n{fingerprint([program], Path(__file__).parent)}\n{digest(inputs)}"
    return hashlib.sha256(found.encode()).hexdigest()[:16]


def digest(inputs: Iterable[Path]) -> str:
    """Return the sha256 of files, and of folders with the names in them."""
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
        if package.is_file() and not all(map(_is_docstring, _tree(package).body)):
            yield package


def _canonical(node: object) -> object:
    """Return a syntax tree as lists, without the docstrings.

    Fields that hold nothing are dropped: versions of Python differ in which of them exist.
    """
    if isinstance(node, ast.AST):
        fields = {name: _canonical(value) for name, value in ast.iter_fields(node)}
        return [type(node).__name__, {name: value for name, value in fields.items() if value}]
    if isinstance(node, list):
        return [_canonical(item) for item in node if not _is_docstring(item)]
    return None if node is None else repr(node)


def _is_docstring(node: object) -> bool:
    """Tell whether it is a text standing alone, which describes what it stands in or under."""
    match node:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
    return False
