"""Fingerprints of code: hashes of a program and all modules that it imports.

Stage `code` writes the fingerprint of each stage's program. DVC reruns a stage when its fingerprint
changes. The hash covers the syntax trees without comments, layout and docstrings, so an edit of
these reruns no other stage.
"""

import ast
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from arcmix import syntax

LENGTH = 12
"""Number of hexadecimal digits of a fingerprint."""

EXCLUDED_MODULES = ("config/origins.py", "config/params.py", "config/scales.py", "recovery.py")
"""Modules that fingerprints exclude, because they change no result. Those of `config` hold types
and no values: all values come from `params.yaml`, on which the stages depend. `recovery` runs only
after an error."""

EXCLUDED_PROGRAMS = ("code", "check", "local", "report", "record", "ablation")
"""Programs that the fingerprint of a run excludes, because they change none of its numbers."""


def programs(folder: Path) -> list[Path]:
    """Return the programs of a folder, ordered by name."""
    return [file for file in sorted(folder.glob("*.py")) if file.stem != "__init__"]


def fingerprints(programs: Iterable[Path], library: Path) -> dict[str, str]:
    """Return name of a program -> its fingerprint, and `all` -> the fingerprint of a run.

    The fingerprint of a run covers all programs but `EXCLUDED_PROGRAMS`.

    Args:
        programs: Python files.
        library: The folder of the package that they import from.

    Raises:
        ValueError: If a file is not valid Python.
    """
    found = [*programs]
    each = {file.stem: fingerprint([file], library) for file in found}
    run = [file for file in found if file.stem not in EXCLUDED_PROGRAMS]
    return each | {"all": fingerprint(run, library)}


def fingerprint(programs: Iterable[Path], library: Path) -> str:
    """Return a hash of the closures of some programs, `LENGTH` hexadecimal digits.

    Args:
        programs: Python files.
        library: The folder of the package that they import from.

    Raises:
        ValueError: If a file is not valid Python.
    """
    found = set().union(*(closure(program, library) for program in programs))
    root = library.parent
    content = sorted(
        ([*file.relative_to(root if root in file.parents else file.parent).parts], _content(file))
        for file in found
    )
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:LENGTH]


def require(written: Path, program: Path, library: Path) -> None:
    """Refuse to run other code than that whose fingerprint stage `code` wrote.

    Otherwise, an edit during a run would make results that are kept as those of the earlier code.

    Args:
        written: The file with the fingerprint of the program.
        program: The program that is about to run.
        library: The folder of the package that it imports from.

    Raises:
        ValueError: If the fingerprint is another one.
    """
    found = fingerprint([program], library)
    if (expected := written.read_text(encoding="utf-8").strip()) != found:
        raise ValueError(
            f"the code of {program.stem} has fingerprint {found}, but {written} is {expected!r}:"
            " the code was edited after stage code ran; run the pipeline again: dvc repro"
        )


def closure(program: Path, library: Path) -> set[Path]:
    """Return a program, the library modules that it imports, also indirectly, and their data files.

    Every import statement counts, also in a function or for the type checker only. Excluded are
    `EXCLUDED_MODULES`, and `__init__.py` files that hold only a docstring. The data files of a
    module are the files in its folder, and in subfolders that are not packages, that are not Python
    modules. An import by a computed name is not detected, so the library must not use it.

    Args:
        program: A Python file.
        library: The folder of the package that it imports from.

    Raises:
        ValueError: If a file is not valid Python.
    """
    excluded = {library / name for name in EXCLUDED_MODULES}
    found, todo = set(), [program]
    while todo:
        file = todo.pop()
        found.add(file)
        if library in file.parents:
            found.update(_data(file.parent))
        imported = set(_imported(file, library.parent)) - excluded
        todo += imported - found
    return found


def _data(folder: Path) -> Iterator[Path]:
    """Yield the data files of a package, without those of its subpackages.

    Compiled and hidden files are no data: an editor or an interpreter left them.
    """
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name == "__pycache__":
            continue
        if path.is_dir() and not (path / "__init__.py").exists():
            yield from _data(path)
        elif path.is_file() and path.suffix not in (".py", ".pyc"):
            yield path


def _content(file: Path) -> str:
    """Return the content to hash: the canonical text of a module, or the hash of a data file."""
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
        raise ValueError(f"{file}: not valid Python: {error}; correct the file") from error


def _imported(file: Path, root: Path) -> Iterator[Path]:
    """Yield the files of the modules and packages that a file imports; `root` holds the library."""
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
    """Yield the files of a dotted name and of all packages on its way, relative to a folder."""
    place = start
    for part in name.split("."):
        place /= part
        module, package = place.with_name(f"{part}.py"), place / "__init__.py"
        if module.is_file():
            yield module
        if package.is_file() and not all(map(syntax.is_docstring, _tree(package).body)):
            yield package
