"""Types of the entries of `studies` in `params.yaml`, and their cells.

A study is a set of runs that belong together. Each of its runs, a cell, has a dataset, a seed and,
where the study has a grid, one value of each place of the grid.
"""

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from arcmix.config.document import Values, shown
from arcmix.config.schema import CHOICES, Name, Section, Seed, merge


def _distinct(values: Sequence[Any]) -> Sequence[Any]:
    if twice := [one for number, one in enumerate(values) if one in values[:number]]:
        raise ValueError(f"each is named once, got {shown(twice[0])} twice; remove one")
    return values


class Study(Section):
    """An entry of `studies`."""

    datasets: Annotated[tuple[Name, ...], Field(min_length=1), AfterValidator(_distinct)]
    """Names of training datasets."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), AfterValidator(_distinct)]
    """Values of `seed`."""
    scale: Name
    """Name of the scale of all cells."""
    model: Name
    """Name of the base model of all cells."""
    baseline: Name
    """The dataset with which the others are compared."""
    grid: dict[Name, Any] | None = None
    """Values of other places: a map as the file itself, with a list of values at each place. A
    place below `datasets.NAME` varies the cells of this dataset alone. None: no other values."""


@dataclass(frozen=True)
class Cell:
    """A run of a study."""

    dataset: str
    """Name of the training dataset."""
    seed: int
    """The experiment's seed."""
    scale: str
    """Name of the scale."""
    model: str
    """Name of the base model."""
    grid: Mapping[str, Any]
    """Place -> value of the grid."""

    def __str__(self) -> str:
        """Return the dataset, the values of the grid and the seed."""
        values = [
            f"{place.removeprefix(f'datasets.{self.dataset}.')}={value}"
            for place, value in self.grid.items()
        ]
        return ", ".join([self.dataset, *values, f"seed {self.seed}"])

    @property
    def values(self) -> dict[str, Any]:
        """Place -> value of all values that the cell sets."""
        chosen = {name: getattr(self, name) for name in (*CHOICES, "seed")}
        return chosen | dict(self.grid)

    def applied(self, raw: Values) -> Values:
        """Return the content of `params.yaml` with the values of the cell."""
        found = raw
        for place, value in self.values.items():
            steps = reversed(place.split("."))
            found = merge(found, functools.reduce(lambda below, name: {name: below}, steps, value))
        return found


def cells(study: Study) -> list[Cell]:
    """Return the cells of a study: all datasets with the first seed, then those with the next.

    Raises:
        ValueError: If the grid has a place without a list of values.
    """
    leaves = dict(_leaves(study.grid or {}, ""))
    return [
        Cell(dataset, seed, study.scale, study.model, dict(zip(own, values, strict=True)))
        for seed in study.seeds
        for dataset in study.datasets
        for own in [[place for place in leaves if _concerns(place, dataset)]]
        for values in itertools.product(*(leaves[place] for place in own))
    ]


def _concerns(place: str, dataset: str) -> bool:
    """Return whether a place of the grid is one of the cells of a dataset."""
    first, _, rest = place.partition(".")
    return first != "datasets" or rest.split(".")[0] == dataset


def _leaves(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, list[Any]]]:
    """Yield each place of a grid and its values."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and not any(isinstance(one, dict) for one in value):
            yield f"{prefix}{name}", value
        else:
            raise ValueError(
                f"{prefix}{name}: a place of a grid has a list of values that are no maps, got"
                f" {shown(value)}; write a list, or remove the place"
            )
