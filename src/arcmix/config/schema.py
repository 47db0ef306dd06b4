"""How values come out of `params.yaml`: the only module that reads it.

A stage names the places that it reads in a class of its own:

    class Params(Section):
        seed: Annotated[int, At("seed")]
        finetune: Annotated[scales.Finetune, At("scales.${scale}.finetune")]

`load` fills it. An entry of `datasets` or `scales` states only what differs from its defaults,
which are sections of the same file (`DEFAULTS`); `resolve` merges the two. `declared` lists the
places that a stage depends on, its defaults included, for the test that compares them with
`dvc.yaml`.
"""

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

CHOICES = {"dataset": "datasets", "model": "models", "scale": "scales"}
"""The values that choose an experiment -> the map that each names an entry of."""

COMPONENTS = "datasets.*.*"
"""The components of datasets, each named after its task table."""

DEFAULTS = {
    COMPONENTS: "component",
    "scales.*.prompt": "prompt",
    "scales.*.finetune": "finetune",
    "scales.*.test_time": "test_time",
    "scales.*.predict": "predict",
}
"""Places of entries -> the section with the values that an entry has unless it states others."""

PositiveInt = Annotated[int, Field(ge=1)]
NaturalInt = Annotated[int, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]

Values = dict[str, Any]
"""A map of `params.yaml`."""


class Section(BaseModel):
    """A part of `params.yaml`: frozen and strict, without unknown names."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


@dataclass(frozen=True)
class At:
    """The place of a value in `params.yaml`, spelled as in `dvc.yaml`."""

    place: str


T = TypeVar("T", bound=Section)


def places(section: type[Section]) -> dict[str, str]:
    """Return the place in `params.yaml` of each field of a stage's parameters.

    Raises:
        ValueError: If a field has no place.
    """
    found = {}
    for name, field in section.model_fields.items():
        marks = [mark.place for mark in field.metadata if isinstance(mark, At)]
        if len(marks) != 1:
            raise ValueError(f"field {name!r} of {section.__name__} needs one place, has {marks}")
        found[name] = marks[0]
    return found


def declared(section: type[Section]) -> set[str]:
    """Return the places that a stage depends on: those of its fields and of their defaults."""
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
        section: The stage's parameters, a place on each field.
        names: Values of placeholders that `params.yaml` does not hold, such as `${key}`.

    Raises:
        ValueError: If a place does not exist or a value does not fit; the message names the
            place, what was found and what is allowed.
    """
    raw = read(path)
    values = resolve(raw)
    names |= {choice: str(values[choice]) for choice in CHOICES if choice in values}
    found, roots = {}, {}
    for field, place in places(section).items():
        roots[field] = Template(place).substitute(names)
        node: Any = values
        for step in roots[field].split("."):
            entries = node if isinstance(node, dict) else {}
            if step not in entries:
                raise ValueError(f"{path}: {roots[field]} is missing: {unknown(step, entries)}")
            node = entries[step]
        found[field] = node
    return validate(path, section, found, raw, roots)


def read(path: Path) -> Values:
    """Return the content of `params.yaml` as it stands.

    Raises:
        ValueError: If it is not a mapping in YAML.
    """
    try:
        # YAML 1.2, as DVC reads the file: to PyYAML, which is YAML 1.1, 1e-4 is a string.
        values = YAML(typ="safe").load(path)
    except YAMLError as error:
        raise ValueError(f"{path}: not YAML: {error}") from error
    if not isinstance(values, dict):  # an error of the file, not of the caller:
        raise ValueError(f"{path}: holds no names, got {values!r}")  # noqa: TRY004
    return values


def resolve(values: Values) -> Values:
    """Return the values with each entry merged over its defaults, and without the defaults.

    An entry without a value states nothing. A component without `tasks` has the task table that it
    is named after.
    """
    found: Values = json.loads(json.dumps(values, default=str))
    for pattern, default in DEFAULTS.items():
        for parent, name in _entries(found, pattern.split(".")):
            entry = {} if parent[name] is None else parent[name]
            parent[name] = merge(found.get(default, {}), entry)
            if pattern == COMPONENTS and isinstance(parent[name], dict):
                parent[name].setdefault("tasks", name)
    return {name: value for name, value in found.items() if name not in DEFAULTS.values()}


def merge(default: Any, entry: Any) -> Any:  # noqa: ANN401
    """Return an entry over its default: maps are merged name by name, all else is replaced."""
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
    """Return resolved values as a section.

    Args:
        path: `params.yaml`, for the error.
        section: Their type.
        values: The values.
        raw: All of the file as it stands.
        roots: Field -> its place in the file, where that is not the field's name.

    Raises:
        ValueError: If values do not fit; the message names all of them.
    """
    try:
        # Strict JSON mode takes a list for a tuple; it is strict in all else.
        return section.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        # A wrong value among the defaults is wrong in each entry: it is reported once.
        problems: dict[str, None] = {}
        for problem in error.errors():
            place = _place(problem["loc"], values, roots or {})
            silent = problem["type"] in ("missing", "value_error")
            got = "" if silent else f", got {problem['input']!r}"
            message = problem["msg"].removeprefix("Value error, ")
            problems[f"{_stated(place, raw)}: {message}{got}"] = None
        raise ValueError(f"{path}: {'; '.join(problems)}") from None


def _place(loc: Sequence[int | str], values: Values, roots: Mapping[str, str]) -> list[str]:
    """Return the place of a problem.

    Pydantic adds steps of its own: the kind of an entry, and the alternatives of a value.
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
    """Return where the file states a value: at its place, or among the defaults of it."""
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
        if not isinstance(node, dict) or step not in node:
            return False
        node = node[step]
    return True


def unknown(found: str, allowed: Iterable[str]) -> str:
    """Return the text of the error for a name that is not one of those allowed."""
    names = sorted(allowed)
    close = difflib.get_close_matches(found, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{found!r} is not one of {names}{hint}"
