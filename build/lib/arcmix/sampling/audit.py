"""Pairs that two collections of tasks share, and the resulting leaks into the training data.

Two pairs are *exactly* equal, or *similar*: equal up to one of the eight symmetries and a
permutation of the colors, each applied to both input and output. Augmentation turns a pair into
similar pairs, so a similar pair in the training data is a leak.
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from arcmix import checked, integers, tasks
from arcmix.tasks import COLORS, Pair, Task

BY_DESIGN = ("val-n-1", "val-demonstrations")
"""Tables with demonstrations of the validation tasks: intended training data, never dropped."""


@checked.OPEN
@dataclass(frozen=True)
class _Component:
    """What later stages read of a component of the report."""

    table: checked.Text
    similar: checked.Count
    dropped: list[checked.TaskId]


@checked.OPEN
@dataclass(frozen=True)
class _Report:
    """What later stages read of the report."""

    components: list[_Component]
    seen: list[checked.TaskId]


class Place(NamedTuple):
    """The position of a pair in a collection."""

    task: str
    variation: int
    role: str
    number: int


@dataclass(frozen=True)
class Index:
    """The positions of the pairs of a collection, by key."""

    exact: Mapping[bytes, Sequence[Place]]
    """By the key for exact equality."""
    similar: Mapping[bytes, Sequence[Place]]
    """By the key for similarity."""


@dataclass(frozen=True)
class Match:
    """Two tasks that share similar pairs, and the number of such pairs in the second task."""

    first: str
    second: str
    exact: int
    """Number of pairs of the second task that are exactly equal to a pair of the first."""
    demonstrations: int
    """Number of demonstrations of the second task that are similar to a pair of the first."""
    tests: int
    """Number of tests of the second task that are similar to a pair of the first."""


@dataclass(frozen=True)
class Finding:
    """The overlap of a training table with the validation tasks."""

    table: str
    tasks: int
    """Number of distinct ids in the table."""
    matches: tuple[Match, ...]
    """Pairs of a training task (first) and a validation task (second) that share similar pairs."""
    named: tuple[str, ...]
    """Ids that are also the id of a validation task or of an original task that leaks."""
    dropped: tuple[str, ...]
    """Ids that are dropped from training."""
    seen: frozenset[str]
    """Ids of validation tasks that leak into this table, whether the leaks are dropped or not."""


def signature(pair: Pair) -> bytes:
    """Return a cheap invariant of similar pairs: their sides and color counts."""
    before, after = (
        np.bincount(one.reshape(-1), minlength=COLORS) for one in (pair.input, pair.output)
    )
    sides = bytes((*sorted(pair.input.shape), *sorted(pair.output.shape)))
    return sides + np.sort(before << 16 | after).tobytes()


def keys(pair: Pair) -> tuple[bytes, bytes]:
    """Return the keys of a pair for exact equality and for similarity, 16 bytes each.

    The key for similarity is the hash of a canonical form. The eight symmetries give eight forms,
    each with its colors renumbered in the order of their first appearance, input first. The
    canonical form is the smallest of them.
    """
    turned = [*zip(_turned(pair.input), _turned(pair.output), strict=True)]
    cells = np.stack([np.concatenate([a.reshape(-1), b.reshape(-1)]) for a, b in turned])
    row = np.arange(len(turned))[:, None]
    first = np.full((len(turned), COLORS), cells.shape[1])
    # If an index occurs repeatedly, numpy keeps the last value: here, the first appearance.
    first[row, cells[:, ::-1]] = np.arange(cells.shape[1])[::-1]
    order = np.argsort(first, axis=1, kind="stable")
    names = integers.narrowed(np.argsort(order, axis=1), np.uint8)
    shapes = [bytes((*a.shape, *b.shape)) for a, b in turned]
    forms = [shape + form.tobytes() for shape, form in zip(shapes, names[row, cells], strict=True)]
    return _hash(shapes[0] + cells[0].tobytes()), _hash(min(forms))


def _turned(one: np.ndarray) -> list[np.ndarray]:
    """Return a grid in all symmetries, itself first, as views, which need no copy."""
    return [side[::down, ::right] for side in (one, one.T) for down in (1, -1) for right in (1, -1)]


def _hash(form: bytes) -> bytes:
    return hashlib.blake2b(form, digest_size=16).digest()


def signatures(tasks: Iterable[Task]) -> set[bytes]:
    """Return the signatures of all pairs of the tasks."""
    return {signature(pair) for task in tasks for pair in task.train + task.test}


def index(tasks: Iterable[Task], among: Collection[bytes] | None = None) -> Index:
    """Return the positions of all pairs of the tasks.

    Args:
        tasks: The tasks.
        among: Only pairs with these signatures are indexed, which saves most of the work.
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
    """Return the pairs of tasks that share similar pairs, sorted by their ids."""
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
    """Return the positions of shared pairs in the second index, by pairs of tasks."""
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
    """Return the overlap of each training table with the validation tasks.

    A task leaks if one of its pairs is similar to a pair of a validation task. It also leaks if
    its id is the id of a validation task or of an original task that leaks: an id stands for a
    rule, so the tasks of a generator leak even if they share no pair with the original.

    Args:
        components: Name and tasks of each table, in the order of the dataset.
        originals: The training tasks of ARC-AGI-1, whose ids other sources use.
        validation: The validation tasks.
        drop: Whether tasks that leak are dropped from training.
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
        # Demonstrations are shared by design, so only tests count.
        seen = frozenset(match.second for match in found if match.tests)
        return Finding(table, len(ids), tuple(found), (), (), seen)
    named = sorted(ids & owners.keys())
    leaks = {match.first for match in found}.union(named) if drop else ()
    seen = {match.second for match in found}.union(*(owners[id_] for id_ in named))
    return Finding(
        table, len(ids), tuple(found), tuple(named), tuple(sorted(leaks)), frozenset(seen)
    )


def read_collections(sources: Path) -> dict[str, list[Task]]:
    """Return the tasks of each split of each source in a folder, without sources of drawn tasks.

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
    """Return the overlap of each two collections, one row per collection.

    `repeats` is the number of tasks with a test that is similar to one of their demonstrations.
    `shared` compares the collection with itself and with each later one: it contains the number
    of pairs of different tasks that share exactly equal pairs, and similar pairs.
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
    """Return the ids of tasks with a test that is similar to one of their demonstrations."""
    ids = set()
    for places in found.similar.values():
        shown, asked = (
            {(place.task, place.variation) for place in places if place.role == role}
            for role in ("train", "test")
        )
        ids |= {task for task, _ in shown & asked}
    return sorted(ids)


def count(found: Iterable[Match]) -> dict[str, int]:
    """Return how many pairs of tasks share exactly equal pairs, and how many similar ones."""
    exact = [match.exact > 0 for match in found]
    return {"exact": sum(exact), "similar": len(exact)}


def summary(found: Sequence[Finding], validation: Sequence[Task]) -> dict[str, Any]:
    """Return the findings as numbers to compare and as lists to inspect.

    `known_tests` is the number of validation tasks with a test in any table. `exact` and
    `similar` are numbers of pairs of tasks, in total and for each component; the totals exclude
    the tables of `BY_DESIGN`.
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


def read(path: Path) -> dict[str, Any]:
    """Return a report (`summary`).

    Raises:
        ValueError: If the file is not a report.
    """
    return checked.read_json(path, _Report, "repeat the audit: dvc repro -f -s audit")


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
