"""The values of the last run: those with which DVC's stages ran, as `dvc.lock` has them."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from arcmix.config import document

PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
"""Pattern of a text that Hydra reads as it is."""


def changed(params: Path, lock: Path) -> list[str]:
    """Return the values that the last run had instead of those of `params.yaml`.

    Args:
        params: `params.yaml`.
        lock: `dvc.lock`, which has the values of each stage when it last succeeded.

    Returns:
        Overrides as `dvc exp run -S` takes them, quoted for a shell. A value that the last run did
        not have, or that the file no longer has, is not among them.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If a file is no YAML, or `params.yaml` is not as it has to be.
    """
    present = dict(_leaves(document.read(params), ""))
    try:
        stages = YAML(typ="safe").load(lock.read_text(encoding="utf-8"))["stages"].values()
        ran = [own for stage in stages for own in stage.get("params", {}).values()]
        values = [
            pair for own in ran for place, value in own.items() for pair in _pairs(place, value)
        ]
    except (YAMLError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{lock}: not as DVC writes it: {error}; run: dvc repro") from error
    earlier = {place: one for place, one in values if place in present and present[place] != one}
    return [shlex.quote(f"{place}={_text(one)}") for place, one in sorted(earlier.items())]


def _pairs(place: str, value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """Yield the place and the value of each leaf of a value at a place."""
    if isinstance(value, dict):
        yield from _leaves(value, f"{place}.")
    else:
        yield place, value


def _leaves(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        yield from _pairs(f"{prefix}{name}", value)


def _text(value: Any) -> str:  # noqa: ANN401
    """Return a value in Hydra's notation."""
    if not isinstance(value, str):
        return json.dumps(value)
    return value if PLAIN.fullmatch(value) else "'" + value.replace("'", "\\'") + "'"
