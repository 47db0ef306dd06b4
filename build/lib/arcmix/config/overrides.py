"""Overrides: values of other runs as `dvc exp run -S` takes them.

They set `params.yaml` back to the values of an earlier run: those with which DVC's stages last ran,
which `dvc.lock` has, or those of a row of the ledger.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from arcmix.config import document

PLAIN = re.compile(r"(?!(?i:true|false|null|inf|nan)$)[A-Za-z./][A-Za-z0-9_./-]*|[0-9.]+%")
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
    return [override(place, one) for place, one in sorted(earlier.items())]


def differing(
    present: Mapping[str, Any], earlier: Mapping[str, Any], *, entry: bool = False
) -> list[str]:
    """Return the values of an earlier run that differ from the present ones, as overrides.

    Args:
        present: The values of `params.yaml`, or a part of them by its place.
        earlier: The values of the earlier run at these places, as far as they are known.
        entry: Whether the values are in an entry, which may leave them to the defaults.
    """
    now = dict(_leaves(present, ""))
    return [
        ("++" if entry else "") + override(place, one)
        for place, one in _leaves(earlier, "")
        if place in now and now[place] != one
    ]


def override(place: str, value: Any) -> str:  # noqa: ANN401
    """Return a value at a place as an override, quoted for a shell."""
    return shlex.quote(f"{place}={_text(value)}")


def _pairs(place: str, value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """Yield the place and the value of each leaf of a value at a place."""
    if isinstance(value, dict):
        yield from _leaves(value, f"{place}.")
    else:
        yield place, value


def _leaves(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        yield from _pairs(f"{prefix}{name}", value)


def _text(value: Any) -> str:  # noqa: ANN401
    """Return a value in Hydra's notation."""
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return value if PLAIN.fullmatch(value) else '"' + value.replace('"', '\\"') + '"'
