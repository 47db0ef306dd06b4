"""Whether the experiment that `params.yaml` describes is consistent.

A stage sees only the values that it depends on. What no single stage would notice, or would
notice only after an hour, is refused here.
"""

import re
from pathlib import Path
from typing import Any

from arcmix.config import origins, params, schema

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
"""Names of entries become parts of paths, of DVC's places and of overrides (`dvc exp run -S`)."""

RENAMED = {
    "1d-arc": "arc-1d",
    "train+eval": "train-eval",
    "re-arc+mini-arc": "re-arc-mini-arc",
    "new-train+re-arc": "new-train-re-arc",
    "qwen2-0.5b-instruct": "qwen2-0_5b-instruct",
    "qwen2-1.5b-instruct": "qwen2-1_5b-instruct",
}
"""Names of entries that an override cannot spell -> the names that replace them."""

ARC_SPLITS = {"training", "evaluation"}
"""The splits that the partition is drawn from."""


def check_file(path: Path) -> params.File:
    """Read all of `params.yaml`.

    Raises:
        ValueError: If a name or a value is not allowed, a chosen name is not an entry of its
            map, or entries do not fit together; the message names the place, what was found
            and what is allowed.
    """
    raw = schema.read(path)
    _check_names(path, raw)
    file = schema.validate(path, params.File, schema.resolve(raw), raw)
    for choice, entries in schema.CHOICES.items():
        name, allowed = getattr(file, choice), getattr(file, entries)
        if name not in allowed:
            found = _renamed(name) or schema.unknown(name, allowed)
            raise ValueError(
                f"{path}: {choice}: {found}; choose with: dvc exp run -S {choice}=NAME"
            )
    _check_tables(path, file)
    _check_pools(path, file)
    if file.selection == "product" and not file.scales[file.scale].predict.rescore:
        raise ValueError(
            f"{path}: selection product ranks grids by their scores, and predict.rescore of scale"
            f" {file.scale} is 0; set it above 0, or choose another selection"
        )
    _check_sizes(path, file)
    return file


def _renamed(name: object) -> str | None:
    new = RENAMED.get(str(name))
    return f"{name!r} is now called {new!r}" if new else None


def _check_names(path: Path, values: dict[Any, Any], *steps: str) -> None:
    for name, value in values.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            place = ".".join(steps) or "the top level"
            found = _renamed(name) or (
                "a name starts with a letter and has letters, digits, - and _ only, so that"
                f" dvc exp run -S can set its values, got {name!r}"
            )
            raise ValueError(f"{path}: {place}: {found}; rename the entry")
        if isinstance(value, dict):
            _check_names(path, value, *steps, name)


def _check_tables(path: Path, file: params.File) -> None:
    """Refuse a task table that is missing or ambiguous."""
    if twice := sorted({*params.PARTITION_TABLES} & {*file.sources}):
        raise ValueError(
            f"{path}: sources: {twice} are names of tables of the partition; rename the sources"
        )
    tables = [*params.PARTITION_TABLES, *file.sources]
    for name, components in file.datasets.items():
        for key, component in components.items():
            if component.tasks not in tables:
                found = _renamed(component.tasks) or schema.unknown(component.tasks, tables)
                raise ValueError(f"{path}: tasks of datasets.{name}.{key}: {found}")
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
        found = _renamed(source) or schema.unknown(source, splits)
        raise ValueError(f"{path}: measure.source: {found}")
    own = source == file.partition.source
    allowed = params.MEASURABLE if own else {"all", *splits[source]}
    if part not in allowed:
        found = schema.unknown(part, allowed)
        if part in params.MEASURABLE:
            found += f"; for that, set measure.source to {file.partition.source}"
        raise ValueError(f"{path}: measure.part of {source}: {found}")


def _splits(source: origins.Source) -> set[str]:
    match source:
        case origins.PackageSource(splits=splits) | origins.ArchiveSource(files=splits):
            return {*splits}
    return set()


def _check_pools(path: Path, file: params.File) -> None:
    pools = [name for name, one in file.datasets[file.dataset].items() if one.pool]
    if pools and file.augment.swap is not True:
        raise ValueError(
            f"{path}: datasets.{file.dataset}.{pools[0]}.pool is true and augment.swap is"
            f" {file.augment.swap}; a pool is drawn from by swapping: set augment.swap to true, or"
            " pool to false"
        )


def _check_sizes(path: Path, file: params.File) -> None:
    """Refuse a scale that measures more tasks than the partition draws."""
    if file.measure != params.Measure(source=file.partition.source, part="validation"):
        return
    for name, scale in file.scales.items():
        if scale.validation.tasks > file.partition.tasks:
            raise ValueError(
                f"{path}: scales.{name}.validation.tasks is {scale.validation.tasks}, more than"
                f" the {file.partition.tasks} of partition.tasks; lower it or raise the other"
            )
