"""The values of `params.yaml` by their places, merged with their defaults and checked by types.

A place is the path of a value in the file, such as `scales.quick.samples`. Each stage declares
the places that it reads in a class:

    class Params(Section):
        seed: Annotated[int, At("seed")]
        finetune: Annotated[scales.Finetune, At("scales.${scale}.finetune")]

`load` returns an instance of the class. An entry of `datasets` or `scales` contains only the values
that differ from its defaults. The defaults are sections of the same file (`DEFAULTS`), and
`resolve` merges an entry with them. `declared` returns the places that a stage depends on, with
the defaults; a test compares them with `dvc.yaml`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from arcmix.config.document import (
    Values,
    checked_name,
    checked_relative,
    read,
    shown,
    unknown,
)

CHOICES = {"dataset": "datasets", "model": "models", "scale": "scales"}
"""Names of the values that choose an experiment -> the map from which each chooses an entry."""

COMPONENTS = "datasets.*.*"
"""Places of the components of datasets."""

DEFAULTS = {
    COMPONENTS: "component",
    "scales.*.prompt": "prompt",
    "scales.*.finetune": "finetune",
    "scales.*.test_time": "test_time",
    "scales.*.predict": "predict",
}
"""Places of entries -> the section with their defaults."""

PositiveInt = Annotated[int, Field(ge=1, le=10**9)]
NaturalInt = Annotated[int, Field(ge=0, le=10**9)]
Probability = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""Seed of random numbers. numpy and transformers take no larger ones."""
Name = Annotated[str, AfterValidator(checked_name)]
"""Name of an entry, which may become part of a path."""
RelativePath = Annotated[str, AfterValidator(checked_relative)]
"""Path, or pattern of paths, in a folder."""
MAX_PROBLEMS = 5
"""Maximum number of wrong values in an error message."""


class Section(BaseModel):
    """Base class of the types of `params.yaml`: frozen and strict, without unknown names."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


@dataclass(frozen=True)
class At:
    """The place of a value in `params.yaml`, written as in `dvc.yaml`."""

    place: str


T = TypeVar("T", bound=Section)


def places(section: type[Section]) -> dict[str, str]:
    """Return the place in `params.yaml` of each field of a stage's parameters.

    Raises:
        ValueError: If a field does not have exactly one place.
    """
    found = {}
    for name, field in section.model_fields.items():
        marks = [mark.place for mark in field.metadata if isinstance(mark, At)]
        if len(marks) != 1:
            raise ValueError(
                f"field {name!r} of {section.__name__} has the places {marks}, but needs exactly"
                " one; annotate it with one At"
            )
        found[name] = marks[0]
    return found


def declared(section: type[Section]) -> set[str]:
    """Return the places that a stage depends on: those of its fields and of their defaults.

    Args:
        section: The class of the stage's parameters.
    """
    found = {*places(section).values()}
    for place in places(section).values():
        steps = ["*" if step.startswith("$") else step for step in place.split(".")]
        for pattern, default in DEFAULTS.items():
            shared = min(len(steps), pattern.count(".") + 1)
            if steps[:shared] == pattern.split(".")[:shared]:
                found.add(default)
    return found


def load(path: Path, section: type[T], **names: str) -> T:
    """Read the values that a stage depends on.

    Args:
        path: `params.yaml`.
        section: The class of the stage's parameters, with a place on each field.
        names: Values of placeholders that are not in `params.yaml`, such as `${key}`.

    Raises:
        ValueError: If a place does not exist or a value has a wrong type. The message states the
            place, the value found and the values allowed.
    """
    raw, values = resolved(path)
    names |= {choice: values[choice] for choice in CHOICES if choice in values}
    found, roots = {}, {}
    for field, place in places(section).items():
        for name in Template(place).get_identifiers():
            try:
                checked_name(names.get(name))
            except ValueError as error:
                raise ValueError(f"{path}: {name}: {error}") from None
        roots[field] = Template(place).substitute(names)
        node: Any = values
        for step in roots[field].split("."):
            entries = node if isinstance(node, dict) else {}
            if step not in entries:
                raise ValueError(f"{path}: {roots[field]} is missing: {unknown(step, entries)}")
            node = entries[step]
        found[field] = node
    return validate(path, section, found, raw, roots)


def resolved(path: Path) -> tuple[Values, Values]:
    """Return the content of `params.yaml` as it is, and with its entries merged (`resolve`).

    Raises:
        ValueError: If the file is no plain map of values, or defaults are no map.
    """
    raw = read(path)
    try:
        return raw, resolve(raw)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def resolve(values: Values) -> Values:
    """Return the values with each entry merged over its defaults, without the default sections.

    An entry without a value equals its defaults. A component without `tasks` uses the task table
    with its own name.

    Raises:
        ValueError: If defaults are no map.
    """
    found: Values = json.loads(json.dumps(values, default=str))
    for default in sorted({*DEFAULTS.values()}):
        if not isinstance(section := found.get(default, {}), dict):
            raise ValueError(  # noqa: TRY004 - the file is wrong, not the caller's type
                f"{default}: the defaults are a map of values, got {shown(section)}; state a map"
            )
    for pattern, default in DEFAULTS.items():
        for parent, name in _entries(found, pattern.split(".")):
            entry = {} if parent[name] is None else parent[name]
            parent[name] = merge(found.get(default, {}), entry)
            if pattern == COMPONENTS and isinstance(parent[name], dict):
                parent[name].setdefault("tasks", name)
    return {name: value for name, value in found.items() if name not in DEFAULTS.values()}


def merge(default: Any, entry: Any) -> Any:  # noqa: ANN401
    """Merge an entry over its default: maps are merged name by name, other values replaced."""
    if not (isinstance(default, dict) and isinstance(entry, dict)):
        return entry
    return default | {name: merge(default.get(name), value) for name, value in entry.items()}


def _entries(values: Values, steps: Sequence[str]) -> Iterator[tuple[Values, str]]:
    """Yield the places that a pattern matches, each as a map and a name in it."""
    first, *rest = steps
    for name in [*values] if first == "*" else [first]:
        if not rest and name in values:
            yield values, name
        elif isinstance(below := values.get(name), dict):
            yield from _entries(below, rest)


def validate(
    path: Path,
    section: type[T],
    values: Values,
    raw: Values,
    roots: Mapping[str, str] | None = None,
) -> T:
    """Return resolved values as an instance of a section.

    Args:
        path: `params.yaml`, for error messages.
        section: Type of the values.
        values: The values, by field.
        raw: The whole file without any merging.
        roots: Field -> its place in the file, for fields whose names are not their places.

    Raises:
        ValueError: If values have wrong types. The message lists all of them.
    """
    try:
        # JSON mode, because it accepts a list for a tuple and is strict otherwise.
        return section.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        # A wrong default is wrong in each entry, but is reported only once.
        problems: dict[str, None] = {}
        for problem in error.errors():
            place = _place(problem["loc"], values, roots or {})
            silent = problem["type"] in ("missing", "value_error", "extra_forbidden")
            got = "" if silent else f", got {shown(problem['input'])}"
            message = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "extra_forbidden":
                *steps, name = problem["loc"]
                message = unknown(str(name), _names(section, steps))
            problems[f"{_stated(place, raw)}: {message}{got}"] = None
        listed = "; ".join([*problems][:MAX_PROBLEMS])
        more = f"; and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
        raise ValueError(f"{path}: {listed}{more}") from None


def _names(kind: Any, steps: Sequence[int | str]) -> Iterator[str]:  # noqa: ANN401
    """Yield the names that a section may have.

    Args:
        kind: Type of the values in which the section is.
        steps: Pydantic's location of the section in them.
    """
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = kind.model_fields
        if not steps:
            yield from fields
        elif (field := fields.get(str(steps[0]))) is not None:
            yield from _names(field.annotation, steps[1:])
        elif "kind" in fields and steps[0] in get_args(fields["kind"].annotation):
            yield from _names(kind, steps[1:])
        return
    # A step into a collection is a name or an index; an alternative has no step.
    below = steps[1:] if get_origin(kind) in (dict, list, tuple) else steps
    for inner in get_args(kind):
        yield from _names(inner, below)


def _place(loc: Sequence[int | str], values: Values, roots: Mapping[str, str]) -> list[str]:
    """Return the place of a problem in the file.

    Pydantic's location has additional steps: the kind of an entry, and the alternatives of a value.
    """
    place = roots.get(str(loc[0]), str(loc[0])).split(".")
    node, entry = values.get(str(loc[0])), None
    for step in loc[1:]:
        if isinstance(node, dict) and step == node.get("kind") and node is not entry:
            entry = node
        elif isinstance(node, dict):
            place.append(str(step))
            node = node.get(str(step))
        elif isinstance(node, list) and isinstance(step, int):
            place.append(str(step))
            node = node[step] if step < len(node) else None
    return place


def _stated(place: Sequence[str], raw: Values) -> str:
    """Return the place of a value in the file: its own place or that of its default."""
    if not _has(raw, place):
        for pattern, default in DEFAULTS.items():
            steps = pattern.split(".")
            pairs = zip(place, steps, strict=False)
            of_pattern = all(step in ("*", name) for name, step in pairs)
            at_default = [default, *place[len(steps) :]]
            if of_pattern and len(place) > len(steps) and _has(raw, at_default):
                return ".".join(at_default)
    return ".".join(place)


def _has(node: Any, place: Sequence[str]) -> bool:  # noqa: ANN401
    for step in place:
        if isinstance(node, list):
            return True  # the step is an index of an item that was read
        if not isinstance(node, dict) or step not in node:
            return False
        node = node[step]
    return True
