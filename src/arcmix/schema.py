"""How values come out of `params.yaml`: the only module that reads it.

A stage names the places it reads in a class of its own:

    class Params(Section):
        seed: Annotated[int, At("seed")]
        prompt: Annotated[params.Prompt, At("scales.${scale}.prompt")]

`load` fills it, and `places` lists the same places for the test that keeps `dvc.yaml`
honest.
"""

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

CHOICES = {"dataset": "datasets", "model": "models", "scale": "scales"}
"""The scalars that choose an experiment, and the map that each names an entry of."""


PositiveInt = Annotated[int, Field(ge=1)]
NaturalInt = Annotated[int, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of `params.yaml`: frozen, strict, unknown names refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


@dataclass(frozen=True)
class At:
    """The place of a value in `params.yaml`, spelt as in `dvc.yaml`."""

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


def load(path: Path, section: type[T], **names: str) -> T:
    """Read the values that a stage depends on.

    Args:
        path: `params.yaml`.
        section: The stage's parameters, a place on each field.
        names: Values for placeholders that `params.yaml` does not hold, such as `${key}`.

    Raises:
        ValueError: If a place does not exist or a value does not fit; it names the place,
            what was found and what is allowed.
    """
    values = read(path)
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
    return validate(path, section, found, roots)


def read(path: Path) -> dict[str, Any]:
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


def validate(
    path: Path, section: type[T], values: dict[str, Any], roots: Mapping[str, str] | None = None
) -> T:
    """Return values as a section; `roots` tells where a field of another name stands.

    Raises:
        ValueError: If values do not fit; it names all of them.
    """
    try:
        # Strict JSON mode takes a list for a tuple and nothing else by courtesy.
        return section.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        problems = []
        for problem in error.errors():
            place = _place(problem["loc"], values, roots or {})
            silent = problem["type"] in ("missing", "value_error")
            got = "" if silent else f", got {problem['input']!r}"
            problems.append(f"{place}: {problem['msg'].removeprefix('Value error, ')}{got}")
        raise ValueError(f"{path}: {'; '.join(problems)}") from None


def _place(steps: Sequence[int | str], values: Any, roots: Mapping[str, str]) -> str:  # noqa: ANN401
    """Return the path of the steps, without those that only name the kind of an entry."""
    place, node, entry = [roots.get(str(steps[0]), str(steps[0]))], values.get(steps[0]), None
    for step in steps[1:]:
        if isinstance(node, dict) and step == node.get("kind") and node is not entry:
            entry = node
            continue
        place.append(str(step))
        node = node.get(step) if isinstance(node, dict) else None
    return ".".join(place)


def unknown(found: str, allowed: Iterable[str]) -> str:
    """Return the text of the error for a name that is not one of those allowed."""
    names = sorted(allowed)
    close = difflib.get_close_matches(found, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{found!r} is not one of {names}{hint}"
