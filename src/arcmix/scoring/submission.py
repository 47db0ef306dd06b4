"""Submissions in the format of Kaggle's ARC Prize, with two attempts at each test of each task.

The format is {TASK: [{"attempt_1": GRID, "attempt_2": GRID}, ... for each test], ...}.
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
"""The grid of a missing attempt, as in Kaggle's sample submission."""


def text(answers: Mapping[str, Sequence[Sequence[np.ndarray]]]) -> str:
    """Return the JSON text of a submission, with a line for each task.

    Args:
        answers: Task -> for each of its tests, the answers, the best first. Answers after the
            second one are left out.
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
    """Return the attempts of a submission: task -> for each of its tests, two grids.

    Args:
        name: Name of the submission in errors.
        values: The parsed JSON.
        tests: Task -> number of its tests, for all tasks to answer.
        max_side: Limit on the sides of a grid.

    Raises:
        ValueError: If a task is missing or unknown, or if a test does not have two valid grids.
    """
    by_task = _check_tasks(name, values, tests)
    found = {}
    for task, count in tests.items():
        entries = by_task[task]
        if not isinstance(entries, list) or len(entries) != count:
            raise ValueError(
                f"{name}: task {task!r} must be a list of {count} tests, got"
                f" {_abbreviated(entries)}; write a map of two attempts for each test"
            )
        found[task] = [
            _check_test(f"{name}: test {number} of task {task!r}", entry, max_side)
            for number, entry in enumerate(entries)
        ]
    return found


def _check_test(where: str, entry: object, max_side: int) -> list[np.ndarray]:
    if not isinstance(entry, dict) or {*entry} != {*NAMES}:
        raise ValueError(
            f"{where}: must be a map of {' and '.join(NAMES)}, got {_abbreviated(entry)}; write a"
            " grid for each of both"
        )
    return [_grid(f"{where}: {attempt}", entry[attempt], max_side) for attempt in NAMES]


def _grid(where: str, rows: object, max_side: int) -> np.ndarray:
    try:
        return as_grid(rows, max_side)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _check_tasks(name: object, values: object, tests: Mapping[str, int]) -> dict[str, object]:
    if not isinstance(values, dict):
        raise ValueError(  # noqa: TRY004 - an error of the file, as the others
            f"{name}: must map tasks to answers, got {_abbreviated(values)}; write a map from task"
            " ids to lists"
        )
    for which, tasks in (("no", {*tests} - {*values}), ("an unknown", {*values} - {*tests})):
        if tasks:
            raise ValueError(
                f"{name}: has {which} task {min(tasks)!r} (and {len(tasks) - 1} more such tasks);"
                f" a submission has exactly the {len(tests)} tasks to answer, so correct the file"
            )
    return values


def solutions(name: object, values: object) -> dict[str, list[np.ndarray]]:
    """Return the right answers of a solutions file of Kaggle: task -> one grid for each test.

    Args:
        name: Name of the file in errors.
        values: The parsed JSON.

    Raises:
        ValueError: If the file is not a map of tasks to lists of valid grids.
    """
    if not isinstance(values, dict) or not values:
        raise ValueError(
            f"{name}: must map tasks to lists of grids, got {_abbreviated(values)}; take a"
            " solutions file of Kaggle"
        )
    found = {}
    for task, grids in values.items():
        if not isinstance(grids, list) or not grids:
            raise ValueError(
                f"{name}: task {task!r} must be a list of grids, got {_abbreviated(grids)}; write a"
                " grid for each test"
            )
        found[task] = [
            _grid(f"{name}: test {number} of task {task!r}", rows, MAX_SIDE)
            for number, rows in enumerate(grids)
        ]
    return found


def score(
    attempts: Mapping[str, Sequence[Sequence[np.ndarray]]],
    truths: Mapping[str, Sequence[np.ndarray]],
) -> dict[str, float]:
    """Return three scores of a submission; a test is solved if one of its attempts is right.

    Args:
        attempts: Task -> for each of its tests, the attempts (`check`).
        truths: Task -> for each of its tests, the right answer; the tasks of `attempts`.

    Returns:
        `per_test`, the share of solved tests, which is Kaggle's rule; `per_task`, the mean over
        tasks of the share of solved tests (docs/metrics.md); `all_tests`, the share of tasks whose
        tests are all solved; and the counts `tasks` and `tests`.
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


def _abbreviated(value: object) -> str:
    """Return the text of a value, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
