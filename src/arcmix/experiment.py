"""Whether the experiment that `params.yaml` describes holds together.

A stage sees only the values that it depends on; what no single stage would notice, or
would notice only after an hour, is refused here.
"""

import re
from pathlib import Path
from typing import Any

from arcmix import params, schema

NAME = re.compile(r"[A-Za-z0-9_+-]+")
"""Names end up in paths, and DVC takes a dot in one for a step down."""

ARC_SPLITS = {"training", "evaluation"}
"""The splits that the partition is drawn from."""


def check(path: Path) -> params.File:
    """Read all of `params.yaml`.

    Raises:
        ValueError: If a name or a value is not allowed, a chosen name is not an entry of
            its map, or entries do not fit together; it names the place, what was found and
            what is allowed.
    """
    values = schema.read(path)
    _check_names(path, values)
    if isinstance(values.get("models"), dict):
        values["models"] = _flat(values["models"])
    file = schema.validate(path, params.File, values)
    for choice, entries in schema.CHOICES.items():
        name, allowed = getattr(file, choice), getattr(file, entries)
        if name not in allowed:
            raise ValueError(
                f"{path}: {choice}: {schema.unknown(name, allowed)};"
                f" choose with: dvc exp run -S {choice}=NAME"
            )
    _check_tables(path, file)
    if (
        any(component.pool for component in file.datasets[file.dataset])
        and file.augment.swap is not True
    ):
        raise ValueError(
            f"{path}: datasets.{file.dataset} draws from a pool, which is what augment.swap does;"
            " set augment.swap to true, or the component's pool to false"
        )
    if file.selection == "product" and not file.scales[file.scale].predict.rescore:
        raise ValueError(
            f"{path}: selection product goes by scores, and scales.{file.scale}.predict.rescore"
            " is 0; set it above 0, or choose another selection"
        )
    drawn = file.measure == params.Measure(source=file.partition.source, part="validation")
    for name, scale in file.scales.items():
        if drawn and scale.validation.tasks > file.partition.tasks:
            raise ValueError(
                f"{path}: scales.{name}.validation.tasks is {scale.validation.tasks},"
                f" more than the {file.partition.tasks} of partition.tasks"
            )
    return file


def _check_names(path: Path, values: dict[Any, Any], *steps: str) -> None:
    for name, value in values.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ValueError(
                f"{path}: a name is of letters, digits, -, _ and +, got {name!r}"
                f" in {'.'.join(steps) or 'the top level'};"
                " a model a.b is written as an entry b of a"
            )
        if isinstance(value, dict):
            _check_names(path, value, *steps, name)


def _check_tables(path: Path, file: params.File) -> None:
    """Refuse a task table that is missing or ambiguous."""
    if twice := sorted({*params.PARTITION_TABLES} & {*file.sources}):
        raise ValueError(f"{path}: the partition draws tables {twice}; name the sources otherwise")
    tables = [*params.PARTITION_TABLES, *file.sources]
    for name, components in file.datasets.items():
        for component in components:
            if component.tasks not in tables:
                found = schema.unknown(component.tasks, tables)
                raise ValueError(f"{path}: tasks of datasets.{name}: {found}")
    arc = [name for name, source in file.sources.items() if _splits(source) >= ARC_SPLITS]
    if file.partition.source not in arc:
        found = schema.unknown(file.partition.source, arc)
        raise ValueError(f"{path}: partition.source: {found}")
    _check_measure(path, file)


def _check_measure(path: Path, file: params.File) -> None:
    """Refuse to measure what is no part of a source of tasks."""
    source, part = file.measure.source, file.measure.part
    splits = {name: _splits(one) for name, one in file.sources.items() if _splits(one)}
    if source not in splits:
        raise ValueError(f"{path}: measure.source: {schema.unknown(source, splits)}")
    own = source == file.partition.source
    allowed = params.MEASURABLE if own else {"all", *splits[source]}
    if part not in allowed:
        found = schema.unknown(part, allowed)
        if part in params.MEASURABLE:
            found += f"; for that, set measure.source to {file.partition.source}"
        raise ValueError(f"{path}: measure.part of {source}: {found}")


def _splits(source: params.Source) -> set[str]:
    match source:
        case params.PackageSource(splits=splits) | params.ArchiveSource(files=splits):
            return {*splits}
    return set()


def _flat(entries: dict[str, Any]) -> dict[str, Any]:
    """Return the entries with names joined by dots where they are written nested."""
    flat = {}
    for name, entry in entries.items():
        # The values of an entry are numbers and texts, so a map of maps is a shared prefix.
        if isinstance(entry, dict) and all(isinstance(value, dict) for value in entry.values()):
            flat |= {f"{name}.{rest}": value for rest, value in _flat(entry).items()}
        else:
            flat[name] = entry
    return flat
