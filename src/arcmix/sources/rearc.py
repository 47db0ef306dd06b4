"""RE-ARC: tasks drawn by the 400 generators of Hodel (2024), out of the reasoning-gym wheel.

The generators need the standard library only; installing the wheel would need a C
compiler for its other games, so they are imported straight out of its file.

A drawn pair is kept if its grids are in the limits, its output differs from its input, it
is new to its task, and the verifier, a second program for the same rule, agrees with it.
Task v of a generator is a function of (seed, generator, v): tasks are drawn in parallel,
and more variations extend fewer. Left out and counted are tasks that repeat a pair of an
earlier variation, and tasks whose draws run out before they are full.
"""

import functools
import importlib
import importlib.util
import itertools
import multiprocessing
import os
import random
import sys
import zipimport
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from arcmix import draws, params, program, tasks
from arcmix.sources import pins, wheel

FOLDER = "reasoning_gym/arc"
"""Where the package of the generators, `rearc_utils`, lies in the wheel."""

DIFFICULTY = (0.0, 1.0)
"""The whole range of each generator, as in the published data."""

DRAWS = 25
"""Draws for each pair of a task; the most often refused generator takes less than 3."""

UNLUCKY = (
    ArithmeticError,
    AttributeError,
    LookupError,
    NameError,
    RuntimeError,
    StopIteration,
    TypeError,
    ValueError,
)
"""What generators and verifiers trip over, on a rare draw; a refused pair is a ValueError."""

Function = Callable[..., Any]


def load(
    name: str, source: params.GeneratorSource, *, cache: Path, workers: int | None = None
) -> pins.Loaded:
    """Draw the tasks of RE-ARC.

    Args:
        name: Name of the source.
        source: The wheel, the seed and how much to draw.
        cache: Folder in which wheels are kept.
        workers: Processes; None for one a core. The tasks do not depend on it.

    Returns:
        Tasks of the split `training` by generator and variation; the last pair is the test.

    Raises:
        OSError: If the wheel is not to be had.
        ValueError: If the wheel is not the pinned one, does not hold the generators, or
            none of them yields a task.
    """
    path = wheel.fetch(source.requirement, source.sha256, cache)
    with ProcessPoolExecutor(
        workers or _cores(), mp_context=multiprocessing.get_context("spawn")
    ) as pool:
        ids = pool.submit(_ids, path).result()
        if len(ids) != source.tasks:
            raise ValueError(
                f"{path} holds {len(ids)} generators, not the {source.tasks} of sources.{name}"
            )
        units = list(itertools.product(ids, range(source.variations)))
        draw = functools.partial(_draw, path=path, name=name, source=source)
        found, rejects = [], Counter[str]()
        with program.progress(len(units), f"draw {name}", "task") as bar:
            for task, refused in pool.map(draw, units, chunksize=4):
                found.append(task)
                rejects += refused
                bar.update()
    distinct, repeats = _distinct(task for task in found if task is not None)
    if not distinct:
        raise ValueError(f"{path} yields no task of {name}; rejected: {pins.summary(rejects)}")
    return pins.Loaded(distinct, rejects + repeats, str(path))


def _cores() -> int:
    # A batch system may grant a process fewer cores than the machine has.
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def _library(path: Path) -> dict[str, tuple[Function, Function]]:
    """Return generator and verifier of each id, imported out of the wheel."""
    spec = zipimport.zipimporter(f"{path}/{FOLDER}").find_spec("rearc_utils")
    if spec is None:
        raise ValueError(f"{path} holds no package {FOLDER}/rearc_utils")
    # Found by its importer, not by name: it is in no folder of sys.path.
    sys.modules["rearc_utils"] = importlib.util.module_from_spec(spec)
    try:
        generators = importlib.import_module("rearc_utils.generators")
        verifiers = importlib.import_module("rearc_utils.verifiers")
    except ImportError as error:
        raise ValueError(f"{path}: rearc_utils cannot be imported: {error}") from error
    prefix = "generate_"
    ids = [key.removeprefix(prefix) for key in vars(generators) if key.startswith(prefix)]
    return {
        id_: (vars(generators)[f"generate_{id_}"], vars(verifiers)[f"verify_{id_}"])
        for id_ in sorted(ids)
    }


def _ids(path: Path) -> list[str]:
    return list(_library(path))


def _draw(
    unit: tuple[str, int], *, path: Path, name: str, source: params.GeneratorSource
) -> tuple[tasks.Task | None, Counter[str]]:
    """Return a task of a generator, if its draws suffice, and the counted rejects."""
    id_, variation = unit
    generate, verify = _library(path)[id_]
    words = draws.words(source.seed, f"re-arc/{id_}", variation, 1, draws.BLOCK)
    rng = random.Random(words.tobytes())  # noqa: S311
    pairs: dict[object, tasks.Pair] = {}
    rejects = Counter[str]()
    for _ in range(DRAWS * source.examples):
        try:
            pair = _pair(generate, verify, rng, source.max_side)
        except UNLUCKY as error:
            ours = isinstance(error, ValueError)
            rejects[str(error).split(",")[0] if ours else type(error).__name__] += 1
            continue
        if _content(pair) in pairs:
            rejects["a pair is new to its task"] += 1
        pairs[_content(pair)] = pair
        if len(pairs) == source.examples:
            *train, test = pairs.values()
            return tasks.Task(id_, name, "training", variation, tuple(train), (test,)), rejects
    rejects[f"a task fills up within {DRAWS} draws a pair"] += 1
    return None, rejects


def _pair(generate: Function, verify: Function, rng: random.Random, max_side: int) -> tasks.Pair:
    drawn = generate(rng, *DIFFICULTY)
    pair = tasks.Pair(*(tasks.as_grid(drawn[side], max_side) for side in ("input", "output")))
    if np.array_equal(pair.input, pair.output):
        raise ValueError("an output differs from its input")
    if verify(drawn["input"]) != drawn["output"]:
        raise ValueError("the verifier agrees with the output")
    return pair


def _content(pair: tasks.Pair) -> object:
    return tuple((grid.shape, grid.tobytes()) for grid in (pair.input, pair.output))


def _distinct(found: Iterable[tasks.Task]) -> tuple[list[tasks.Task], Counter[str]]:
    """Leave out tasks that repeat a pair of an earlier variation; the others stay as drawn."""
    seen: dict[str, set[object]] = {}
    distinct, repeats = [], Counter[str]()
    for task in found:
        contents = {_content(pair) for pair in task.train + task.test}
        earlier = seen.setdefault(task.id, set())
        if contents & earlier:
            repeats["a task repeats no pair of an earlier variation"] += 1
        else:
            earlier |= contents
            distinct.append(task)
    return distinct, repeats
