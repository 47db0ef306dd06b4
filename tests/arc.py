"""Small tasks and strategies for tests: grids that are not square, with different cells."""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from arcmix.tasks import Pair, Task

grids = stn.arrays(
    np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 7)), elements=st.integers(0, 9)
)


def pair(number: int, height: int = 2, width: int = 3) -> Pair:
    """Return a pair whose cells identify the pair and their position."""
    cells = np.arange(height * width, dtype=np.uint8).reshape(height, width)
    return Pair((cells + number) % 10, ((cells + number) * 3 % 10)[:, :-1])


def task(id_: str = "a", train: int = 3, test: int = 1, split: str = "training") -> Task:
    """Return a task whose pairs all differ."""
    pairs = [pair(number, height=1 + number % 3) for number in range(train + test)]
    return Task(id_, "arc", split, 0, tuple(pairs[:train]), tuple(pairs[train:]))


def component(table: str, **changes: Any) -> dict[str, Any]:
    """Return a component with a whole table, with some values changed."""
    whole = {"subset": "all", "hardest": "all", "variations": "all", "pool": False}
    whole |= {"split": "all", "examples": "all", "n_minus": 0, "per_test": False, "weight": 1}
    return {"tasks": table} | whole | changes


def dataset(*components: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a dataset with some components, each with the name of its table."""
    return {one["tasks"]: one for one in components}


def mixed(table: str, entries: int) -> dict[str, Any]:
    """Return the counts of a dataset of one component (`mix.json`)."""
    counts = {"tasks": entries, "entries": entries, "samples": 10}
    one = counts | {"table": table, "weight": 1, "digest": "0" * 64}
    return counts | {"uses_validation_demonstrations": False, "components": [one]}
