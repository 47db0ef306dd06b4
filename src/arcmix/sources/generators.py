"""The generators of RE-ARC, imported from the reasoning-gym wheel, and the tasks that they draw.

The generators need only the standard library. Installing the wheel would require a C compiler
for its other games, so the generators are imported directly from the file.

Importing them executes code of the wheel. So the wheel is pinned here, in code, and not in
`params.yaml`: nobody can exchange it without a change that shows as code.

A drawn pair is kept if its grids are within the limits, its output differs from its input, it
is new to its task, and the verifier, a second implementation of the same rule, confirms it.
"""

import functools
import importlib
import importlib.util
import random
import statistics
import sys
import zipimport
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from arcmix import parsing, randomness, tasks
from arcmix.config import origins
from arcmix.sources import dsl


@dataclass(frozen=True)
class Wheel:
    """A wheel of the package index with generators, a verifier for each, and their `dsl`."""

    requirement: str
    """The wheel, `name==version`."""
    sha256: str
    """sha256 of the wheel."""


WHEEL = Wheel(
    requirement="reasoning-gym==0.1.25",
    sha256="7f17a3eddb13c015d7d4a755ed576a061df889faf9468bcc2cca334ebe9e0435",
)
"""The only wheel whose code arcmix executes."""

FOLDER = "reasoning_gym/arc"
"""Folder of the generators' package, `rearc_utils`, in the wheel."""

DIFFICULTY = (0.0, 1.0)
"""Full difficulty range of each generator, as in the published data."""

DRAWS = 25
"""Maximum draws for each pair of a task; the generator with most rejects needs fewer than 3."""

DRAW_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    NameError,
    RuntimeError,
    StopIteration,
    TypeError,
    ValueError,
)
"""Errors that generators and verifiers raise on rare draws; a rejected pair is a ValueError."""

Function = Callable[..., Any]


@functools.cache
def _library(path: Path) -> dict[str, tuple[Function, Function]]:
    """Return the generator and the verifier of each id, imported from the wheel."""
    spec = zipimport.zipimporter(f"{path}/{FOLDER}").find_spec("rearc_utils")
    if spec is None:
        raise ValueError(
            f"{path} does not contain the package {FOLDER}/rearc_utils; correct WHEEL or FOLDER"
        )
    # The package is not on sys.path, so it cannot be imported by its name.
    sys.modules["rearc_utils"] = importlib.util.module_from_spec(spec)
    try:
        # The other modules import names from this one, so it is patched first.
        dsl.replace_functions(importlib.import_module("rearc_utils.dsl"))
        generators = importlib.import_module("rearc_utils.generators")
        verifiers = importlib.import_module("rearc_utils.verifiers")
    except ImportError as error:
        raise ValueError(
            f"{path}: cannot import rearc_utils: {error}; correct WHEEL or FOLDER"
        ) from error
    prefix = "generate_"
    ids = [key.removeprefix(prefix) for key in vars(generators) if key.startswith(prefix)]
    return {
        id_: (vars(generators)[f"generate_{id_}"], vars(verifiers)[f"verify_{id_}"])
        for id_ in sorted(ids)
    }


def ids(path: Path) -> list[str]:
    """Return the ids of all generators in a wheel, sorted."""
    return list(_library(path))


def draw(
    id_: str, variation: int, path: Path, source: origins.Draws
) -> tuple[tasks.Task | None, Counter[str]]:
    """Return a task of a generator, or None if its draws run out, and the number of rejects.

    Args:
        id_: The generator.
        variation: Number of the task. The task depends on it, the generator and the settings only.
        path: The wheel.
        source: The settings.
    """
    generate, verify = _library(path)[id_]
    words = randomness.words(source.seed, f"re-arc/{id_}", variation, 1, randomness.BLOCK)
    rng = _Random(words.tobytes())
    pairs: dict[object, tuple[tasks.Pair, float]] = {}
    rejects = Counter[str]()
    for _ in range(DRAWS * source.examples):
        rng.difficulty_samples = []
        try:
            pair = _pair(generate, verify, rng, source.max_side)
        except DRAW_ERRORS as error:
            rejected = isinstance(error, ValueError)
            rejects[str(error).split(",")[0] if rejected else type(error).__name__] += 1
            continue
        if content(pair) in pairs:
            rejects["a pair occurs in its task twice"] += 1
        pairs[content(pair)] = pair, statistics.fmean(rng.difficulty_samples or [0.0])
        if len(pairs) == source.examples:
            found, measured = zip(*pairs.values(), strict=True)
            rng_mean, pso_mean = statistics.fmean(measured), statistics.fmean(map(pso, found))
            task = tasks.Task(id_, "", "training", variation, found[:-1], found[-1:])
            return replace(task, rng=rng_mean, pso=pso_mean), rejects
    rejects[f"a task is incomplete after {DRAWS} draws for each pair"] += 1
    return None, rejects


class _Random(random.Random):
    """Random numbers for a generator, which appends the difficulty of each choice."""

    difficulty_samples: list[float]


def _pair(generate: Function, verify: Function, rng: random.Random, max_side: int) -> tasks.Pair:
    drawn = generate(rng, *DIFFICULTY)
    pair = tasks.Pair(*(parsing.as_grid(drawn[side], max_side) for side in ("input", "output")))
    if np.array_equal(pair.input, pair.output):
        raise ValueError("an output equals its input")
    if verify(drawn["input"]) != drawn["output"]:
        raise ValueError("the verifier disagrees with the output")
    return pair


def pso(pair: tasks.Pair) -> float:
    """Return the PSO-difficulty of a pair: the mean of its pixels, symbols and objects.

    Pixels are relative to their maximum, 1800. Symbols are colors, relative to ten. Objects are
    connected areas of one color, relative to the number of cells (re-arc `get_pso_difficulty`).
    """
    grids = (pair.input, pair.output)
    pixels = sum(grid.size for grid in grids) / 1800
    symbols = len({*pair.input.tobytes(), *pair.output.tobytes()}) / tasks.COLORS
    return (pixels + symbols + sum(_areas(grid) / grid.size for grid in grids) / 2) / 3


def _areas(grid: np.ndarray) -> int:
    """Return the number of areas of one color whose cells are connected by their sides."""
    starts = np.diff(grid, axis=1, prepend=tasks.COLORS) != 0
    # A run is a sequence of cells of one color in a row. Touching runs of two rows are joined
    # once, in the column where the later run starts.
    runs = np.cumsum(starts).reshape(grid.shape) - 1
    meet = (grid[1:] == grid[:-1]) & (starts[1:] | starts[:-1])
    root = list(range(runs[-1, -1] + 1))
    areas = len(root)
    for above, below in zip(runs[:-1][meet].tolist(), runs[1:][meet].tolist(), strict=True):
        first, second = _root(root, above), _root(root, below)
        if first != second:
            root[second] = first
            areas -= 1
    return areas


def _root(root: list[int], run: int) -> int:
    while run != root[run]:
        root[run] = run = root[root[run]]
    return run


def content(pair: tasks.Pair) -> object:
    """Return a value that two pairs share if and only if they are equal."""
    return tuple((grid.shape, grid.tobytes()) for grid in (pair.input, pair.output))
