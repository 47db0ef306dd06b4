"""The common part of all stages: command line, logging and error messages on one line."""

import argparse
import inspect
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import tqdm

from arcmix.config import schema

FIRST = os.environ.get("RANK", "0") == "0"
"""Whether this is the first process of a stage; the others log only warnings."""

GRACE = 15.0
"""Seconds by which the other processes delay their error message. A launcher ends all processes
after the first failure, so an error that occurs in all of them is printed once."""


def main(run: Callable[..., None]) -> None:
    """Call a stage's `run` with the arguments of the command line.

    Each keyword of `run` becomes a flag whose type is the annotation, `Path` or `str`. A
    `schema.Section` is read from the file given by `--params` instead. A `ValueError` or
    `OSError` ends the program with status 1 and its message on one line.
    """
    logging.basicConfig(format="%(name)s: %(message)s", level=logging.WARNING)
    name = Path(sys.argv[0]).stem
    logging.getLogger("arcmix").setLevel(logging.INFO if FIRST else logging.WARNING)
    started = time.monotonic()
    try:
        run(**_arguments(run))
    except (ValueError, OSError) as error:
        if not FIRST:
            time.sleep(GRACE)
        sys.exit(f"error in {name}: {' '.join(str(error).split())}")
    logging.getLogger(f"arcmix.{name}").info("took %.1f s", time.monotonic() - started)


def _arguments(run: Callable[..., None]) -> dict[str, object]:
    described = inspect.getmodule(run)
    parser = argparse.ArgumentParser(description=described.__doc__ if described else None)
    keywords = inspect.signature(run).parameters
    sections = {}
    for name, keyword in keywords.items():
        kind = keyword.annotation
        if issubclass(kind, schema.Section):
            sections[name] = kind
        else:
            parser.add_argument(f"--{name.replace('_', '-')}", type=kind, required=True)
    if sections:
        parser.add_argument("--params", type=Path, required=True)
    arguments = vars(parser.parse_args())
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
