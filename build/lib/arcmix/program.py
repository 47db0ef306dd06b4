"""The common part of all stages: command line, logging and error messages on one line."""

import argparse
import dis
import inspect
import logging
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Self, get_args

import tqdm

from arcmix import fingerprints, orphans, recovery, redaction
from arcmix.config import schema

FIRST = os.environ.get("RANK", "0") == "0"
"""Whether this is the first process of a stage; the others log only warnings."""

STARTERS = orphans.starters()
"""What started this process, looked up before the imports of a stage, which take seconds."""

GRACE = 15.0
"""Seconds by which the other processes delay their error message. A launcher ends all processes
after the first failure, so an error that occurs in all of them is printed once."""

LOGS = Path(".cache", "logs")
"""Folder of the logs of errors, in the repository that DVC works for."""

LONGEST = 2000
"""Maximum number of characters of an error message. The log file has the whole message."""


class Key(str):
    """The key of a stage of a group, as a keyword of `run`.

    DVC names such a stage GROUP@KEY, in the environment variable DVC_STAGE. Its commands pass this
    name in quotes, because a key that DVC itself wrote into a command would reach the shell.
    """

    __slots__ = ()

    def __new__(cls, stage: str) -> Self:
        """Return the part after the @."""
        return super().__new__(cls, stage.partition("@")[2])


def main(run: Callable[..., None]) -> None:
    """Call a stage's `run` with the arguments of the command line.

    Each keyword of `run` becomes a flag whose type is the annotation, `Path`, `Key` or `str`. A
    `schema.Section` is read from the file given by `--params` instead. With `--code`, the file with
    the fingerprint of the program, other code than that is refused. An error ends the program
    with status 1 and a message on one line, which ends with the command that puts the workspace
    right (`recovery`). If the error is not one that arcmix or the operating
    system explains, the message names a log file with the traceback.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    name = Path(sys.argv[0]).stem
    logging.getLogger("arcmix").setLevel(logging.INFO if FIRST else logging.WARNING)
    started = time.monotonic()
    orphans.end_with(STARTERS)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # set in stages/__init__.py
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _check_root()
        run(**_arguments(run))
    except KeyboardInterrupt:
        logging.getLogger(f"arcmix.{name}").info("interrupted; the same command continues")
        sys.exit(128 + signal.SIGINT)
    except Exception as error:  # noqa: BLE001 - the end of the program, for any error
        if not FIRST:
            time.sleep(GRACE)
        text = f"error in {name}: {_explained(name, error)}{recovery.hint()}"
        sys.exit(redaction.redacted(text))
    logging.getLogger(f"arcmix.{name}").info("took %.1f s", time.monotonic() - started)


class _Formatter(logging.Formatter):
    """A formatter of log messages that hides credentials."""

    def format(self, record: logging.LogRecord) -> str:
        return redaction.redacted(super().format(record))


def _check_root() -> None:
    """Refuse a DVC_ROOT that another repository set, because caches would be read from there."""
    root, here = os.environ.get("DVC_ROOT"), Path.cwd()
    if root and here != Path(root).resolve() and Path(root, ".dvc").resolve() not in here.parents:
        raise ValueError(
            f"the environment variable DVC_ROOT is {root}, but this repository is {here}; DVC sets"
            " the variable only if it is not set, so unset it: unset DVC_ROOT"
        )


def _explained(name: str, error: Exception) -> str:
    """Return the message of an error on one line, with a log file if the message does not do."""
    text = " ".join(str(error).split())
    foreseen = isinstance(error, OSError) or (isinstance(error, ValueError) and _is_ours(error))
    if foreseen and 0 < len(text) <= LONGEST:
        return text
    kind = "" if foreseen else f"{type(error).__name__}: "
    shown = text if len(text) <= LONGEST else f"{text[:LONGEST].rstrip()}..."
    try:
        return f"{kind}{shown}; the traceback is in {_logged(name, error)}"
    except OSError as failure:
        return f"{kind}{shown}; the traceback could not be written: {failure}"


def _is_ours(error: Exception) -> bool:
    """Return whether a `raise` of arcmix or of its program raised an error.

    Otherwise, a library raised it, or an operation of Python such as a conversion.
    """
    last = error.__traceback__
    while last and last.tb_next:
        last = last.tb_next
    if last is None:
        return False
    code = last.tb_frame.f_code
    folders = {Path(__file__).parent, Path(sys.argv[0]).resolve().parent}
    raised = code.co_code[last.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    return raised and not folders.isdisjoint(Path(code.co_filename).resolve().parents)


def _logged(name: str, error: Exception) -> str:
    """Write the traceback of an error to a new log file, and return its path."""
    folder = None  # that of the system for temporary files
    if root := os.environ.get("DVC_ROOT"):
        folder = Path(root, LOGS)
        folder.mkdir(parents=True, exist_ok=True)
    handle, path = tempfile.mkstemp(prefix=f"{name}-", suffix=".log", dir=folder)
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        lines = [f"{sys.argv}\n", *traceback.format_exception(error)]
        file.write(redaction.redacted("".join(lines)))
    return path


def _arguments(run: Callable[..., None]) -> dict[str, object]:
    described = inspect.getmodule(run)
    parser = argparse.ArgumentParser(description=described.__doc__ if described else None)
    keywords = inspect.signature(run).parameters
    sections = {}
    for name, keyword in keywords.items():
        kind = keyword.annotation
        if isinstance(kind, type) and issubclass(kind, schema.Section):
            sections[name] = kind
            continue
        items = get_args(kind)  # those of a list
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(
            flag, type=items[0] if items else kind, nargs="+" if items else None, required=True
        )
    if sections:
        parser.add_argument("--params", type=Path, required=True)
    if "code" not in keywords:
        parser.add_argument("--code", type=Path)
    arguments = vars(parser.parse_args())
    if code := arguments["code"]:
        fingerprints.require(code, Path(sys.argv[0]), Path(__file__).parent)
    if "code" not in keywords:
        del arguments["code"]
    if sections:
        path = arguments.pop("params")
        names = {name: value for name, value in arguments.items() if isinstance(value, str)}
        for name, section in sections.items():
            arguments[name] = schema.load(path, section, **names)
    return arguments


def progress(total: int, what: str, unit: str) -> tqdm.tqdm:
    """Return a progress bar, which is shown only by the first process and only on a terminal.

    Args:
        total: Number of units; 0 if unknown.
        what: Description of the work.
        unit: Name of the unit; bytes, "B", are shown in kB or MB.
    """
    return tqdm.tqdm(
        total=total,
        desc=what,
        unit=unit,
        unit_scale=unit == "B",
        disable=None if FIRST else True,
        leave=False,
    )
