"""Overrides: values of other runs as `dvc exp run -S` takes them.

They set `params.yaml` back to the values of an earlier run: those with which DVC's stages last ran,
which `dvc.lock` has, or those of a row of the ledger.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from arcmix.config import document

PLAIN = re.compile(r"(?!(?i:true|false|null|inf|nan)$)[A-Za-z./][A-Za-z0-9_./-]*|[0-9.]+%")
"""Pattern of a text that Hydra reads as it is."""

NAMED = ("datasets", "models", "scales", "sources", "studies")
"""Sections of `params.yaml` whose entries the user names."""

CHOSEN = {"dataset": "datasets", "model": "models", "scale": "scales"}
"""Value of `params.yaml` -> the section with the entry that it chooses."""

RECORD = "record"
"""The stage of `dvc.yaml` that has the values of a whole run."""


def changed(params: Path, lock: Path, unread: str = "") -> list[str]:
    """Return the overrides that set `params.yaml` back to the values of the last run.

    The stage `record` has most of them, because it runs only after the stages that compute. For the
    other values, a stage that has yet to run with the present one has the earlier one.

    Args:
        params: `params.yaml`.
        lock: `dvc.lock`, which has the values of each stage when it last succeeded.
        unread: An earlier `params.yaml` as text. It has the values that no stage of the last run
            read, such as those of the datasets that were not chosen.

    Returns:
        Overrides as `dvc exp run -S` takes them, quoted for a shell. `~NAME` removes a value, or
        with `unread` a section, that was added to a section of the last run; a new section in one
        of `NAMED` stays. `++NAME=` adds a value or a section that a stage read, that `unread` has
        and the file no longer has, or sets a section back that is a value now.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If a file is no YAML, or `params.yaml` is not as it has to be.
    """
    values = document.read(params)
    present = dict(_leaves(values, ""))
    stages = _stages(lock)
    rest = _parsed(unread)
    read = _earlier(present, stages)
    committed = dict(_leaves(rest, ""))
    earlier = committed | read
    known = {section for own in (rest, *stages.values()) for section in _sections(own, "")}
    if RECORD in stages:
        known.add("")  # each value at the top of the file is one of a stage
    # Without the earlier file, a section is perhaps one that no stage read.
    added = [place for place in _added(present, earlier, known) if rest or place in present]
    lost = {place: read[place] for place in sorted(read.keys() & committed.keys())}
    return [
        *(shlex.quote(f"~{place}") for place in added),
        *_gone(present, lost, present.keys() | {*_sections(values, "")}),
        *_replaced(present, earlier, known),
        *differing(present, dict(sorted(earlier.items()))),
    ]


def gone(params: Path, lock: Path) -> bool:
    """Return whether the last run chose an entry that `params.yaml` no longer has.

    Args:
        params: `params.yaml`.
        lock: `dvc.lock`.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If a file is no YAML.
    """
    values = document.read(params)
    earlier = _earlier(dict(_leaves(values, "")), _stages(lock))
    entries = {place: values.get(section) for place, section in CHOSEN.items()}
    return any(
        place in earlier and earlier[place] not in own
        for place, own in entries.items()
        if isinstance(own, dict)
    )


def _above(place: str) -> list[str]:
    """Return the sections that a place is in, the outermost first."""
    names = place.split(".")
    return [".".join(names[:count]) for count in range(1, len(names))]


def _outermost(place: str, known: AbstractSet[str]) -> str | None:
    """Return the outermost section of a place, or the place itself, that is not known."""
    return next((one for one in [*_above(place), place] if one not in known), None)


def _added(
    present: Mapping[str, Any], earlier: Mapping[str, Any], known: set[str]
) -> Iterator[str]:
    """Yield the values and sections that are new in a known section.

    A new section in one of `NAMED` is the user's own, so it is not among them.
    """
    new = [_outermost(place, known | earlier.keys()) for place in sorted(present)]
    for place in dict.fromkeys(filter(None, new)):
        own = place not in present and place.partition(".")[0] in NAMED
        if place.rpartition(".")[0] in known and not own:
            yield place


def _gone(
    present: Mapping[str, Any], lost: Mapping[str, Any], there: AbstractSet[str]
) -> Iterator[str]:
    """Yield overrides that add the values and sections that are gone, not those in a value."""
    missing = [_outermost(place, there) for place in lost]
    for place in dict.fromkeys(filter(None, missing)):
        if all(present.get(section, {}) == {} for section in _above(place)):
            yield f"++{override(place, lost[place] if place in lost else _within(lost, place))}"


def _replaced(
    present: Mapping[str, Any], earlier: Mapping[str, Any], known: set[str]
) -> Iterator[str]:
    """Yield overrides that set the sections back that are values now."""
    for place in sorted(known & present.keys()):
        section = _within(earlier, place)
        if section and present[place] != {}:
            if isinstance(present[place], list):  # Hydra merges no map into a list
                yield shlex.quote(f"~{place}")
            yield f"++{override(place, section)}"


def _within(values: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Return the values whose places are in a section, as a map of maps."""
    found: dict[str, Any] = {}
    for place, value in values.items():
        if place.startswith(f"{section}."):
            *sections, name = place.removeprefix(f"{section}.").split(".")
            inner = found
            for one in sections:
                inner = inner.setdefault(one, {})
            inner[name] = value
    return found


def _parsed(text: str) -> dict[str, Any]:
    """Return the values of a `params.yaml`, none if it is not YAML."""
    try:
        found = YAML(typ="safe").load(text)
    except YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _stages(lock: Path) -> dict[str, dict[str, Any]]:
    """Return the values of each stage by their places, as `dvc.lock` has them."""
    try:
        stages = YAML(typ="safe").load(lock.read_text(encoding="utf-8"))["stages"]
        return {
            name: {place: value for own in files.values() for place, value in own.items()}
            for name, stage in stages.items()
            for files in [stage.get("params", {})]
        }
    except (YAMLError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{lock}: not as DVC writes it: {error}; run: dvc repro") from error


def _earlier(present: Mapping[str, Any], stages: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the values of the last run, given the present ones and those of each stage."""
    ran = {name: dict(_leaves(own, "")) for name, own in stages.items()}
    record = ran.pop(RECORD, {})
    earlier: dict[str, Any] = {}
    for name, own in ran.items():
        if "@" in name and not own.keys() <= present.keys():
            continue  # of a source that is no longer in the file
        earlier |= {
            place: value
            for place, value in own.items()
            if place not in earlier or (place in present and present[place] != value)
        }
    return earlier | record


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


def _leaves(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the place and the value of each leaf; an empty section is a leaf."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _sections(values: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Yield the place of each section."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield f"{prefix}{name}"
            yield from _sections(value, f"{prefix}{name}.")


def _text(value: Any) -> str:  # noqa: ANN401
    """Return a value in Hydra's notation, in which the names of a map have no quotes."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{_text(one)}" for name, one in value.items()) + "}"
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return value if PLAIN.fullmatch(value) else '"' + value.replace('"', '\\"') + '"'
