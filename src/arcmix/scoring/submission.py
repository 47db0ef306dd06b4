"""Answers in the format of Kaggle's ARC Prize: two attempts at each test of each task.

{TASK: [{"attempt_1": GRID, "attempt_2": GRID}, ... one for each test], ...}
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from arcmix.scoring.metrics import ATTEMPTS, solves
from arcmix.tasks import MAX_SIDE, as_grid

NAMES = tuple(f"attempt_{number}" for number in range(1, ATTEMPTS + 1))
"""Names of the attempts at a test."""

FILLER = ((0, 0), (0, 0))
"""What stands for a missing attempt, as in Kaggle's sample."""


def text(answers: Mapping[str, Sequence[Sequence[np.ndarray]]]) -> str:
    """Return the JSON text of a submission, one line a task.

    Args:
        answers: Task -> for each test its grids, the best first; the third and later ones are
            left out.
    """
    lines = [
        f"{json.dumps(task)}: {json.dumps([_attempts(grids) for grids in tests])}"
        for task, tests in answers.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _attempts(grids: Sequence[np.ndarray]) -> dict[str, Any]:
    filled = [*(grid.tolist() for grid in grids[:ATTEMPTS]), *[FILLER] * ATTEMPTS]
    return dict(zip(NAMES, filled, strict=False))


def check(
    name: object,
    values: object,
    tests: Mapping[str, int],
    max_side: int,
) -> dict[str, list[list[np.ndarray]]]:
    """Return the attempts of a submission: task -> for each test two grids.

    Args:
        name: What the errors call the submission.
        values: The parsed JSON.
        tests: Task -> number of its tests, for all tasks that were to be answered.
        max_side: Longest side of a grid.

    Raises:
        ValueError: If a task is missing or unknown, or a test has not two grids.
    """
    by_task = _tasks(name, values, tests)
    found = {}
    for task, count in tests.items():
        entries = by_task[task]
        if not isinstance(entries, list) or len(entries) != count:
            raise ValueError(
                f"{name}: task {task!r} is a list of {count} tests, got {_shown(entries)}"
            )
        found[task] = [
            _check_test(f"{name}: test {number} of task {task!r}", entry, max_side)
            for number, entry in enumerate(entries)
        ]
    return found


def _check_test(where: str, entry: object, max_side: int) -> list[np.ndarray]:
    if not isinstance(entry, dict) or {*entry} != {*NAMES}:
        raise ValueError(f"{where}: has {' and '.join(NAMES)}, got {_shown(entry)}")
    return [_grid(f"{where}: {attempt}", entry[attempt], max_side) for attempt in NAMES]


def _grid(where: str, rows: object, max_side: int) -> np.ndarray:
    try:
        return as_grid(rows, max_side)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _tasks(name: object, values: object, tests: Mapping[str, int]) -> dict[str, object]:
    if not isinstance(values, dict):
        raise ValueError(f"{name}: maps tasks to answers, got {_shown(values)}")  # noqa: TRY004
    for which, tasks in (("no", {*tests} - {*values}), ("an unknown", {*values} - {*tests})):
        if tasks:
            raise ValueError(
                f"{name}: has {which} task {min(tasks)!r}, and {len(tasks) - 1} others alike;"
                f" a submission answers each of the {len(tests)} tasks and no other"
            )
    return values


def solutions(name: object, values: object) -> dict[str, list[np.ndarray]]:
    """Return the right answers of a solutions file of Kaggle, task -> list of grids.

    Raises:
        ValueError: If it is not a map of tasks to lists of grids; it names the place.
    """
    if not isinstance(values, dict) or not values:
        raise ValueError(f"{name}: maps tasks to lists of grids, got {_shown(values)}")
    found = {}
    for task, grids in values.items():
        if not isinstance(grids, list) or not grids:
            raise ValueError(f"{name}: task {task!r} is a list of grids, got {_shown(grids)}")
        found[task] = [
            _grid(f"{name}: test {number} of task {task!r}", rows, MAX_SIDE)
            for number, rows in enumerate(grids)
        ]
    return found


def score(
    attempts: Mapping[str, Sequence[Sequence[np.ndarray]]],
    truths: Mapping[str, Sequence[np.ndarray]],
) -> dict[str, float]:
    """Return how many tests are solved, by any of their attempts, in three ways of counting.

    Args:
        attempts: Task -> for each test its attempts (`check`).
        truths: Task -> the right answer of each test, of the same tasks and tests.

    Returns:
        `per_test`: share of the tests, which is Kaggle's rule; `per_task`: mean over tasks of
        the share of their tests, as in docs/metrics.md; `all_tests`: share of the tasks of which
        every test is solved; and the counts `tasks` and `tests`.
    """
    solved = {
        task: [solves(grids, truth) for grids, truth in zip(attempts[task], own, strict=True)]
        for task, own in truths.items()
    }
    tests = [test for own in solved.values() for test in own]
    return {
        "per_test": sum(tests) / len(tests),
        "per_task": sum(sum(own) / len(own) for own in solved.values()) / len(solved),
        "all_tests": sum(all(own) for own in solved.values()) / len(solved),
        "tasks": len(solved),
        "tests": len(tests),
    }


def _shown(value: object) -> str:
    found = repr(value)
    return found if len(found) <= 60 else f"{found[:57]}..."
