"""The YAML document of `params.yaml`: a plain tree of names and values, within limits.

The file may come from a stranger's branch. Its names become parts of paths and of overrides, and
its values become parts of error messages. So anything that is not plain is refused here, before
any program uses a value: aliases, tags, deep nesting, names and texts that a path or DVC would
read in another way.
"""

import difflib
import re
import reprlib
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

MAX_SIZE = 2**17
"""Maximum size of the file in bytes; ours has 11 kB."""
MAX_DEPTH = 12
"""Maximum depth of a value; ours have 5."""
MAX_TEXT = 1000
"""Maximum length of a text in characters."""
MAX_NAME = 64
"""Maximum length of a name in characters. A file name has at most 255 bytes."""
MAX_INTEGER = 2**63 - 1
"""Largest absolute value of an integer; numpy and Parquet have integers of 64 bits."""
MAX_SHOWN = 200
"""Maximum length in characters of a value in an error message."""
MAX_NAMES = 60
"""Maximum number of names in an error message."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
"""Pattern of a name. Names become parts of paths and of DVC's overrides (`dvc exp run -S`)."""

RENAMED = {
    "1d-arc": "arc-1d",
    "train+eval": "train-eval",
    "re-arc+mini-arc": "re-arc-mini-arc",
    "new-train+re-arc": "new-train-re-arc",
    "qwen2-0.5b-instruct": "qwen2-0_5b-instruct",
    "qwen2-1.5b-instruct": "qwen2-1_5b-instruct",
}
"""Old names of entries, which an override cannot contain -> their new names."""

Values = dict[str, Any]
"""A map of `params.yaml`."""


def read(path: Path) -> Values:
    """Return the content of `params.yaml` without any merging.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not a mapping in plain YAML, or exceeds a limit, or a name or a text
            is not allowed.
    """
    text = _text(path)
    try:
        _check_events(text)
        # DVC reads the file as YAML 1.2. PyYAML reads YAML 1.1, in which 1e-4 is a string.
        values = YAML(typ="safe").load(text)
    except MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        found = shortened(" ".join(f"{error.problem}".split()))
        raise ValueError(f"{path}: not valid YAML: {line}{found}; correct the file") from error
    except (YAMLError, ValueError) as error:
        found = shortened(" ".join(str(error).split()))
        raise ValueError(f"{path}: not valid YAML: {found}; correct the file") from error
    if not isinstance(values, dict):
        raise ValueError(  # noqa: TRY004 - the file is wrong, not the caller's type
            f"{path}: not a mapping of names to values, got {shown(values)}; correct the file"
        )
    try:
        _check_values(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return values


def _text(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise OSError(f"{path}: not a file; give the path of params.yaml")
    with path.open("rb") as file:
        content = file.read(MAX_SIZE + 1)
    if len(content) > MAX_SIZE:
        raise ValueError(
            f"{path}: the file has more than the allowed {MAX_SIZE} bytes; shorten the file"
        )
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not in UTF-8: {error}; correct the file") from error


def _check_events(text: str) -> None:
    """Refuse what is not plain YAML, before anything is constructed from it.

    Raises:
        ValueError: If the text has aliases, tags or merge keys, or is nested too deeply.
    """
    depth = 0
    for event in YAML(typ="safe").parse(text):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        line = f"line {event.start_mark.line + 1}"
        if depth > MAX_DEPTH:
            raise ValueError(f"{line}: more than {MAX_DEPTH} values inside each other")
        if isinstance(event, AliasEvent):
            raise ValueError(  # noqa: TRY004 - the file is wrong, not the caller's type
                f"{line}: *{shortened(event.anchor)} repeats a value; write it out"
            )
        if getattr(event, "tag", None) is not None:
            raise ValueError(f"{line}: the tag {shown(event.tag)} is not allowed; remove it")
        if isinstance(event, ScalarEvent) and event.value == "<<" and not event.style:
            raise ValueError(f"{line}: << merges values, which is not allowed; write them out")


def _check_values(value: Any, *steps: str) -> None:  # noqa: ANN401
    """Check the names, texts and integers of a value, which is at the place `steps`."""
    place = ".".join(steps)
    match value:
        case dict():
            _check_names(place or "the top level", value)
            for name, one in value.items():
                _check_values(one, *steps, name)
        case list():
            for number, one in enumerate(value):
                _check_values(one, *steps, str(number))
        case str() if len(value) > MAX_TEXT or not value.isprintable():
            raise ValueError(
                f"{place}: a text has at most {MAX_TEXT} characters, all printable, got"
                f" {shown(value)} of {len(value)} characters; shorten or correct it"
            )
        case str() if "${" in value:
            raise ValueError(
                f"{place}: DVC would replace what follows ${{, got {shown(value)}; write the"
                " value itself"
            )
        case int() if abs(value) > MAX_INTEGER:
            raise ValueError(
                f"{place}: the integer does not fit into 64 bits; choose a smaller one"
            )
        case None | bool() | int() | float() | str() | date():
            pass
        case _:
            raise ValueError(f"{place}: {shown(value)} is no plain value; write text or a number")


def _check_names(place: str, values: dict[Any, Any]) -> None:
    seen: dict[str, str] = {}
    for name in values:
        try:
            checked_name(name)
        except ValueError as error:
            raise ValueError(f"{place}: {error}; rename the entry") from None
        # Some file systems do not tell them apart.
        if (other := seen.setdefault(name.lower(), name)) != name:
            raise ValueError(
                f"{place}: {other!r} and {name!r} differ only in case; rename one of them"
            )


def checked_name(name: Any) -> str:  # noqa: ANN401
    """Return a name that may become part of a path.

    Raises:
        ValueError: If it does not match `NAME` or is too long.
    """
    if new := RENAMED.get(str(name)):
        raise ValueError(f"{name!r} is now called {new!r}")
    if not isinstance(name, str) or not NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise ValueError(
            "a name starts with a letter and contains only letters, digits, - and _, at most"
            f" {MAX_NAME}, so that dvc exp run -S can set its values, got {shown(name)}"
        )
    return name


def checked_relative(path: str) -> str:
    """Return a relative path, or a pattern of paths, that stays in its folder.

    Raises:
        ValueError: If it is empty, absolute, has a part that is empty, `.` or `..`, or has a
            backslash or a control character.
    """
    parts = path.split("/")
    if {"", ".", ".."} & {*parts} or "\\" in path or not path.isprintable():
        raise ValueError(
            "a path is relative, separated by / and without empty parts, . and .., and printable,"
            f" got {shown(path)}"
        )
    return path


def unknown(found: str, allowed: Iterable[str]) -> str:
    """Return the error text for a name that is not allowed, with the most similar allowed name."""
    names = sorted(allowed)
    close = difflib.get_close_matches(found[:MAX_SHOWN], names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"{shown(found)} is not one of {names[:MAX_NAMES]}{more}{hint}"


def shown(value: Any) -> str:  # noqa: ANN401
    """Return a value as an error message shows it: in Python's notation, at most `MAX_SHOWN`."""
    return shortened(_SHORT.repr(value))


def shortened(text: str) -> str:
    """Return a text with at most `MAX_SHOWN` characters."""
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


_SHORT = reprlib.Repr()
_SHORT.maxlevel = 4
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = 8
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = MAX_SHOWN
