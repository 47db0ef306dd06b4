"""Pairs that two collections of tasks have in common, and what follows for training.

Two pairs are equal exactly, or they are *similar*: equal up to one of the eight symmetries
and one relabeling of the colors, both applied to input and output alike. A similar pair is
what augmentation makes of a pair, so similarity is what makes a leak.
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from arcmix import tasks
from arcmix.tasks import COLORS, Pair, Task

BY_DESIGN = ("val-n-1", "val-demonstrations")
"""Tables of the validation tasks' demonstrations: trained on knowingly, never dropped."""


class Place(NamedTuple):
    """Where a pair stands."""

    task: str
    variation: int
    role: str
    number: int


@dataclass(frozen=True)
class Index:
    """Where each pair of a collection stands, by its key."""

    exact: Mapping[bytes, Sequence[Place]]
    """By the grids as they are."""
    similar: Mapping[bytes, Sequence[Place]]
    """By the grids up to symmetry and colors."""


@dataclass(frozen=True)
class Match:
    """Two tasks with similar pairs, counted on the side of the second."""

    first: str
    second: str
    exact: int
    """Pairs of the second task that the first has, too, byte for byte."""
    demonstrations: int
    """Demonstrations of the second task that the first has, up to symmetry and colors."""
    tests: int
    """Tests of the second task that the first has, likewise."""


@dataclass(frozen=True)
class Finding:
    """What one table trained on has in common with the validation tasks."""

    table: str
    tasks: int
    """Distinct ids in the table."""
    matches: tuple[Match, ...]
    """Its tasks (first) and the validation tasks (second) that have similar pairs."""
    named: tuple[str, ...]
    """Ids that a validation task has, or an original task that leaks."""
    dropped: tuple[str, ...]
    """Ids that training does without."""
    seen: frozenset[str]
    """Validation tasks that are not clean because of this table, dropped or not."""


def signature(pair: Pair) -> bytes:
    """Return what similar pairs have in common and few others: sides and color counts."""
    before, after = (
        np.bincount(one.reshape(-1), minlength=COLORS) for one in (pair.input, pair.output)
    )
    sides = bytes((*sorted(pair.input.shape), *sorted(pair.output.shape)))
    return sides + np.sort(before << 16 | after).tobytes()


def keys(pair: Pair) -> tuple[bytes, bytes]:
    """Return what identifies a pair, 16 bytes each: exactly, and up to symmetry and colors.

    The second is of the smallest of eight forms, one a symmetry, each with its colors
    renumbered in the order in which they appear, input first.
    """
    turned = [*zip(_turned(pair.input), _turned(pair.output), strict=True)]
    cells = np.stack([np.concatenate([a.reshape(-1), b.reshape(-1)]) for a, b in turned])
    row = np.arange(len(turned))[:, None]
    first = np.full((len(turned), COLORS), cells.shape[1])
    # Of several values for one place numpy keeps the last, here the first appearance.
    first[row, cells[:, ::-1]] = np.arange(cells.shape[1])[::-1]
    names = np.argsort(np.argsort(first, axis=1, kind="stable"), axis=1).astype(np.uint8)
    shapes = [bytes((*a.shape, *b.shape)) for a, b in turned]
    forms = [shape + form.tobytes() for shape, form in zip(shapes, names[row, cells], strict=True)]
    return _hash(shapes[0] + cells[0].tobytes()), _hash(min(forms))


def _turned(one: np.ndarray) -> list[np.ndarray]:
    """Return a grid in all symmetries, itself first: views, which cost less than `grid.turn`."""
    return [side[::down, ::right] for side in (one, one.T) for down in (1, -1) for right in (1, -1)]


def _hash(form: bytes) -> bytes:
    return hashlib.blake2b(form, digest_size=16).digest()


def signatures(tasks: Iterable[Task]) -> set[bytes]:
    """Return the signatures of all pairs of the tasks."""
    return {signature(pair) for task in tasks for pair in task.train + task.test}


def index(tasks: Iterable[Task], among: Collection[bytes] | None = None) -> Index:
    """Return where each pair of the tasks stands.

    Args:
        tasks: The tasks.
        among: Signatures; pairs of any other are left out, which saves most of the work.
    """
    exact, similar = defaultdict(list), defaultdict(list)
    for task in tasks:
        for role, pairs in (("train", task.train), ("test", task.test)):
            for number, pair in enumerate(pairs):
                if among is not None and signature(pair) not in among:
                    continue
                place = Place(task.id, task.variation, role, number)
                for table, key in zip((exact, similar), keys(pair), strict=True):
                    table[key].append(place)
    return Index(exact, similar)


def matches(first: Index, second: Index) -> list[Match]:
    """Return the pairs of tasks that have similar pairs, by their ids."""
    exact = _shared(first.exact, second.exact)
    similar = _shared(first.similar, second.similar)
    found = []
    for both in sorted(similar):
        roles = [place.role for place in similar[both]]
        found.append(
            Match(*both, len(exact.get(both, ())), roles.count("train"), roles.count("test"))
        )
    return found


def _shared(
    first: Mapping[bytes, Sequence[Place]], second: Mapping[bytes, Sequence[Place]]
) -> dict[tuple[str, str], set[Place]]:
    """Return the places in the second of what the first has, too, by pairs of tasks."""
    found = defaultdict(set)
    for key in first.keys() & second.keys():
        for one in {place.task for place in first[key]}:
            for place in second[key]:
                found[one, place.task].add(place)
    return found


def findings(
    components: Sequence[tuple[str, Sequence[Task]]],
    originals: Iterable[Task],
    validation: Sequence[Task],
    *,
    drop: bool,
) -> list[Finding]:
    """Return what each table trained on has in common with the validation tasks.

    A task leaks if it has a pair similar to one of a validation task, or if it has the id
    of a validation task or of an original that leaks: ids stand for rules, so a generator
    leaks without drawing a pair of its original.

    Args:
        components: Name and tasks of each table, in the order of the dataset.
        originals: ARC-AGI-1's training tasks, whose ids other sources use.
        validation: The validation tasks.
        drop: Whether training does without the tasks that leak.
    """
    asked, among = index(validation), signatures(validation)
    owners = defaultdict(set, {task.id: {task.id} for task in validation})
    for match in matches(index(originals, among), asked):
        owners[match.first].add(match.second)
    return [
        _finding(table, tasks, matches(index(tasks, among), asked), owners, drop=drop)
        for table, tasks in components
    ]


def _finding(
    table: str,
    tasks: Iterable[Task],
    found: Sequence[Match],
    owners: Mapping[str, Collection[str]],
    *,
    drop: bool,
) -> Finding:
    ids = {task.id for task in tasks}
    if table in BY_DESIGN:
        # Only what goes beyond the demonstrations is worth telling.
        seen = frozenset(match.second for match in found if match.tests)
        return Finding(table, len(ids), tuple(found), (), (), seen)
    named = sorted(ids & owners.keys())
    leaks = {match.first for match in found}.union(named) if drop else ()
    seen = {match.second for match in found}.union(*(owners[id_] for id_ in named))
    return Finding(
        table, len(ids), tuple(found), tuple(named), tuple(sorted(leaks)), frozenset(seen)
    )


def read_collections(sources: Path) -> dict[str, list[Task]]:
    """Return the tasks of each split of each source in a folder, but of those that draw their tasks.

    Args:
        sources: Folder of the tables of the sources.
    """
    found = {}
    for path in sorted(sources.glob("*.parquet")):
        every = tasks.read(path)
        if any(task.variation or not task.train for task in every):
            continue
        for split, group in groupby(every, key=lambda task: task.split):
            found.setdefault(f"{path.stem} {split}", []).extend(group)
    return found


def overlaps(collections: Mapping[str, Sequence[Task]]) -> list[dict[str, Any]]:
    """Return what any two collections share, one row a collection.

    `repeats` counts its tasks with a test that is similar to a demonstration of the same
    task. `shared` has itself and the collections after it: how many pairs of different
    tasks have equal pairs and similar pairs.
    """
    indices = {name: index(tasks) for name, tasks in collections.items()}
    rows = []
    for number, (name, first) in enumerate(indices.items()):
        shared = {}
        for other, second in list(indices.items())[number:]:
            found = matches(first, second)
            if name == other:
                found = [match for match in found if match.first < match.second]
            shared[other] = count(found)
        size = len({task.id for task in collections[name]})
        rows.append(
            {"collection": name, "tasks": size, "repeats": len(repeats(first)), "shared": shared}
        )
    return rows


def repeats(found: Index) -> list[str]:
    """Return the ids of the tasks with a test that is similar to one of their demonstrations."""
    ids = set()
    for places in found.similar.values():
        shown, asked = (
            {(place.task, place.variation) for place in places if place.role == role}
            for role in ("train", "test")
        )
        ids |= {task for task, _ in shown & asked}
    return sorted(ids)


def count(found: Iterable[Match]) -> dict[str, int]:
    """Return how many pairs of tasks have equal pairs, and how many have similar ones."""
    exact = [match.exact > 0 for match in found]
    return {"exact": sum(exact), "similar": len(exact)}


def summary(found: Sequence[Finding], validation: Sequence[Task]) -> dict[str, Any]:
    """Return the findings as numbers, for a comparison, and as lists, for a look.

    `known_tests` counts the validation tasks with a test in any table. `exact` and
    `similar` count pairs of tasks, as does the same for each component, but without the
    tables that are trained on by design.
    """
    every = [match for one in found for match in one.matches]
    leaks = [match for one in found if one.table not in BY_DESIGN for match in one.matches]
    seen = frozenset().union(*(one.seen for one in found))
    return {
        "clean_tasks": len(validation) - len(seen),
        "dropped_tasks": sum(len(one.dropped) for one in found),
        "known_tests": len({match.second for match in every if match.tests}),
        "validation_tasks": len(validation),
        **count(leaks),
        "seen": sorted(seen),
        "components": [_described(one) for one in found],
    }


def _described(finding: Finding) -> dict[str, Any]:
    by_design = finding.table in BY_DESIGN
    return {
        "table": finding.table,
        "tasks": finding.tasks,
        "by_design": by_design,
        **count(finding.matches),
        "matches": [
            asdict(match)
            for match in finding.matches
            if match.tests or not (by_design and match.first == match.second)
        ],
        "named": list(finding.named),
        "dropped": list(finding.dropped),
    }
