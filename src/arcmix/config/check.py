"""The check that `params.yaml` describes a consistent experiment.

A stage sees only the values that it depends on. This check finds errors that no single stage can
see, and errors that a stage would find only after an hour.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arcmix.config import origins, params, schema, studies
from arcmix.config.document import shown, unknown

ARC_SPLITS = {"training", "evaluation"}
"""The splits that the source of the partition must have."""


def check_file(path: Path) -> params.File:
    """Read and check the whole of `params.yaml`.

    Raises:
        ValueError: If a name or a value is not allowed, a chosen name is not an entry of its
            map, or two entries contradict each other. The message states the place in the file,
            the value found and the values allowed.
    """
    raw, values = schema.resolved(path)
    _check_sections(path, raw)
    _check_maps(path, raw)
    file = schema.validate(path, params.File, values, raw)
    _check_run(path, file)
    for name, study in file.studies.items():
        _check_study(path, raw, file, f"studies.{name}", study)
    return file


def _check_sections(path: Path, raw: schema.Values) -> None:
    """Refuse an unknown name at the top of the file, whose values would be missing elsewhere."""
    allowed = {*params.File.model_fields, *schema.DEFAULTS.values()}
    found = [f"{name}: {unknown(name, allowed)}" for name in raw if name not in allowed]
    if found:
        raise ValueError(f"{path}: {'; '.join(found)}; rename or remove what is not allowed")


def _check_maps(path: Path, raw: schema.Values) -> None:
    """Refuse a default that is no map where a scale has one, because that map would replace it."""
    scales = raw.get("scales")
    for name, scale in (scales if isinstance(scales, dict) else {}).items():
        for place, value in _no_maps(raw, scale if isinstance(scale, dict) else {}):
            raise ValueError(
                f"{path}: {place}: must be a map of values, as scales.{name}.{place} is, got"
                f" {shown(value)}; state a map"
            )


def _no_maps(default: schema.Values, entry: schema.Values) -> Iterator[tuple[str, object]]:
    """Yield the place and the value of each default that is no map where an entry has one."""
    for name in sorted(default.keys() & entry.keys()):
        value, own = default[name], entry[name]
        if isinstance(value, dict) and isinstance(own, dict):
            yield from ((f"{name}.{place}", found) for place, found in _no_maps(value, own))
        elif isinstance(own, dict):
            yield name, value


def check_cell(path: Path, raw: schema.Values, cell: studies.Cell) -> params.File:
    """Check the file with the values of a cell, and return it.

    Args:
        path: `params.yaml`, for error messages.
        raw: Its content.
        cell: The cell.

    Raises:
        ValueError: As `check_file`.
    """
    applied = cell.applied(raw)
    file = schema.validate(path, params.File, schema.resolve(applied), applied)
    _check_run(path, file)
    return file


def _check_run(path: Path, file: params.File) -> None:
    """Check that the chosen entries exist, and that no two entries contradict each other."""
    for choice, entries in schema.CHOICES.items():
        name, allowed = getattr(file, choice), getattr(file, entries)
        if name not in allowed:
            raise ValueError(
                f"{path}: {choice}: {unknown(name, allowed)}; choose with: dvc exp run -S"
                f" {choice}=NAME"
            )
    if wrong := [name for name in file.ablation.baseline if name not in file.datasets]:
        raise ValueError(f"{path}: ablation.baseline: {unknown(wrong[0], file.datasets)}")
    _check_tables(path, file)
    _check_pools(path, file)
    if file.selection == "product" and not file.scales[file.scale].predict.rescore:
        raise ValueError(
            f"{path}: selection product ranks grids by their scores, but predict.rescore of scale"
            f" {file.scale} is 0, so there are no scores; set it above 0, or choose another"
            " selection"
        )
    _check_sizes(path, file)


def stated(path: Path, scale: str) -> dict[str, tuple[Any, Any]]:
    """Return the values that a scale states itself, which win over the defaults.

    Args:
        path: `params.yaml`.
        scale: Name of the scale.

    Returns:
        Place of a default -> the value that the scale states, and the default, None if there is
        none.
    """
    raw = schema.read(path)
    sections = [pattern.split(".")[-1] for pattern in schema.DEFAULTS if "scales" in pattern]
    found: dict[str, tuple[Any, Any]] = {}
    todo = [(name, raw["scales"][scale].get(name), raw.get(name)) for name in sections]
    while todo:
        place, own, default = todo.pop(0)
        if isinstance(own, dict):
            below = default if isinstance(default, dict) else {}
            todo += [(f"{place}.{name}", one, below.get(name)) for name, one in own.items()]
        elif own is not None:
            found[place] = (own, default)
    return found


def _check_tables(path: Path, file: params.File) -> None:
    """Check that each table name that the file uses exists and is unambiguous."""
    if twice := sorted({*params.PARTITION_TABLES} & {*file.sources}):
        raise ValueError(
            f"{path}: sources: {twice} are also names of tables of the partition; rename the"
            " sources"
        )
    tables = [*params.PARTITION_TABLES, *file.sources]
    for name, components in file.datasets.items():
        for key, component in components.items():
            if component.tasks not in tables:
                found = unknown(component.tasks, tables)
                raise ValueError(f"{path}: tasks of datasets.{name}.{key}: {found}")
            splits = (
                _splits(file.sources[component.tasks]) if component.tasks in file.sources else ()
            )
            if splits and component.split not in {"all", *splits}:
                found = unknown(component.split, {"all", *splits})
                raise ValueError(f"{path}: split of datasets.{name}.{key}: {found}")
    arc = [name for name, source in file.sources.items() if _splits(source) >= ARC_SPLITS]
    if file.partition.source not in arc:
        raise ValueError(f"{path}: partition.source: {unknown(file.partition.source, arc)}")
    _check_measure(path, file)


def _check_measure(path: Path, file: params.File) -> None:
    """Check that the measured source has tasks, and has the measured part."""
    source, part = file.measure.source, file.measure.part
    splits = {name: _splits(one) for name, one in file.sources.items() if _splits(one)}
    if source not in splits:
        raise ValueError(f"{path}: measure.source: {unknown(source, splits)}")
    own = source == file.partition.source
    allowed = params.MEASURABLE if own else {"all", *splits[source]}
    if part not in allowed:
        found = unknown(part, allowed)
        if part in params.MEASURABLE:
            found += f"; to measure {part}, set measure.source to {file.partition.source}"
        raise ValueError(f"{path}: measure.part of {source}: {found}")


def _splits(source: origins.Source) -> set[str]:
    match source:
        case (
            origins.PackageSource(splits=splits)
            | origins.ArchiveSource(files=splits)
            | origins.HubSource(files=splits)
        ):
            return {*splits}
        case origins.FolderSource(files=splits):
            return {*(splits or ("training",))}
    return set()


def _check_pools(path: Path, file: params.File) -> None:
    pools = [name for name, one in file.datasets[file.dataset].items() if one.pool]
    if pools and file.augment.swap is not True:
        raise ValueError(
            f"{path}: datasets.{file.dataset}.{pools[0]}.pool is true and augment.swap is"
            f" {file.augment.swap}, but only swapping draws the pairs of a pool; set augment.swap"
            " to true, or pool to false"
        )


def _check_sizes(path: Path, file: params.File) -> None:
    """Check that no scale measures more validation tasks than the partition draws."""
    if file.measure != params.Measure(source=file.partition.source, part="validation"):
        return
    for name, scale in file.scales.items():
        if scale.validation.tasks > file.partition.tasks:
            raise ValueError(
                f"{path}: scales.{name}.validation.tasks is {scale.validation.tasks}, more than"
                f" the {file.partition.tasks} of partition.tasks; lower it or raise partition.tasks"
            )


def _check_study(
    path: Path, raw: schema.Values, file: params.File, place: str, study: studies.Study
) -> None:
    """Check that the names of a study exist, and that each of its cells is another valid run."""
    known = {"model": file.models, "scale": file.scales} | {"baseline": study.datasets}
    for name, allowed in known.items():
        if (found := getattr(study, name)) not in allowed:
            raise ValueError(f"{path}: {place}.{name}: {unknown(found, allowed)}")
    if wrong := [name for name in study.datasets if name not in file.datasets]:
        raise ValueError(f"{path}: {place}.datasets: {unknown(wrong[0], file.datasets)}")
    try:
        found = studies.cells(study)
    except ValueError as error:
        raise ValueError(f"{path}: {place}.grid.{error}") from None
    _check_grid(path, file, place, study)
    seen: dict[str, studies.Cell] = {}
    for cell in found:
        if cell.seed != study.seeds[0]:
            continue  # the others differ from it in the seed alone
        try:
            values = made_of(check_cell(path, raw, cell))
        except ValueError as error:
            text = str(error).removeprefix(f"{path}: ")
            raise ValueError(f"{path}: {place}: the cell {cell}: {text}") from None
        if (other := seen.setdefault(json.dumps(values, sort_keys=True), cell)) is not cell:
            raise ValueError(
                f"{path}: {place}: the cells {other} and {cell} have the same values, because"
                " nothing that the run uses has the value of the grid, or its scale or its dataset"
                " states another one; remove one, or vary what is used"
            )


def _check_grid(path: Path, file: params.File, place: str, study: studies.Study) -> None:
    """Check that each place of a grid is one that cells of the study use."""
    grid = study.grid or {}
    used = {"datasets": study.datasets, "scales": [study.scale], "models": [study.model]}
    if own := sorted({*grid} & {*schema.CHOICES, "seed", "studies"}):
        raise ValueError(
            f"{path}: {place}.grid.{own[0]}: a grid has the other values of a run; the study itself"
            " has datasets, seeds, one model and one scale, so write another study"
        )
    for section, allowed in used.items():
        for name, below in _map(grid.get(section, {}), f"{path}: {place}.grid.{section}").items():
            if name not in allowed:
                raise ValueError(
                    f"{path}: {place}.grid.{section}: the study does not use it:"
                    f" {unknown(name, allowed)}"
                )
            parts = _map(below, f"{path}: {place}.grid.{section}.{name}")
            known = file.datasets[name] if section == "datasets" else parts
            if wrong := [part for part in parts if part not in known]:
                raise ValueError(
                    f"{path}: {place}.grid.{section}.{name}: the dataset has no such component:"
                    f" {unknown(wrong[0], known)}"
                )


def _map(values: Any, place: str) -> dict[str, Any]:  # noqa: ANN401
    if not isinstance(values, dict):
        raise ValueError(  # noqa: TRY004 - the file is wrong, not the caller's type
            f"{place}: a grid varies values below an entry, got {shown(values)}; write a map"
        )
    return values


def made_of(file: params.File) -> dict[str, Any]:
    """Return the chosen values of a run as JSON: all that makes its numbers but the code.

    They have the names of the parameters of stage `record`. `sources` are those that the run uses.
    """
    values = file.model_dump(mode="json")
    names = ("partition", "measure", "audit", "augment", "init", "init_seed", "selection")
    components = values["datasets"][file.dataset]
    used = {file.partition.source, file.measure.source}
    used |= {one["tasks"] for one in components.values()}
    return {name: values[name] for name in (*schema.CHOICES, "seed", "checkpoint", *names)} | {
        "components": components,
        "base": values["models"][file.model],
        "budgets": values["scales"][file.scale],
        "sources": {name: one for name, one in values["sources"].items() if name in used},
    }
