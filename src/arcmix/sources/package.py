"""Tasks from a data file of an installed Python package."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

from arcmix import tasks
from arcmix.config import origins
from arcmix.sources import pins


def load(name: str, source: origins.PackageSource) -> pins.Loaded:
    """Return the tasks of a package's data file.

    Raises:
        ValueError: If the package or a split is missing, or the tasks differ from the pins.
        OSError: If the package does not contain the file.
    """
    origin = f"{source.file} of the package {source.package}"
    return pins.verified(name, _read(name, source), source, origin)


def _read(name: str, source: origins.PackageSource) -> Iterator[tasks.Value]:
    # The package is not imported: its code may need packages that its data does not.
    try:
        found = importlib.util.find_spec(source.package)
    except ModuleNotFoundError:  # of a parent
        found = None
    if found is None or not found.submodule_search_locations:
        raise ValueError(
            f"{name} is part of the package {source.package!r}, which is not installed;"
            f" run: make setup, or: pip install {source.package}"
        )
    [folder, *_] = found.submodule_search_locations
    values = json.loads(Path(folder, source.file).read_bytes())
    for split, key in source.splits.items():
        if key not in values:
            raise ValueError(
                f"{source.file} of {source.package} has no split {key!r}, it has"
                f" {sorted(values)}; correct sources.{name}.splits"
            )
        for id_, value in values[key].items():
            yield id_, split, None, value
