"""Submissions in the format of Kaggle's ARC Prize, with two attempts at each test of each task.

The format is {TASK: [{"attempt_1": GRID, "attempt_2": GRID}, ... for each test], ...}.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arcmix.parsing import as_grid
from arcmix.scoring.metrics import ATTEMPTS, solves
from arcmix.tasks import MAX_SIDE

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


@dataclass(frozen=True)
class Submission:
    """The attempts of a submission, and how many of them do not count."""

    attempts: dict[str, list[list[np.ndarray]]]
    """Task -> for each of its tests, the attempts that are grids."""
    missing: int
    """Number of attempts that are left out, null or empty."""
    invalid: int
    """Number of other attempts that are no grid."""
    ignored: int
    """Number of attempts beyond the second one."""


def read(name: object, values: object, tests: Mapping[str, int], max_side: int) -> Submission:
    """Return the attempts of a submission.

    Only a grid is an answer. Anything else in the place of an attempt, of the attempts at a test,
    or of the last tests of a task counts as no answer. Integers may be written as floats.

    Args:
        name: Name of the submission in errors.
        values: The parsed JSON.
        tests: Task -> number of its tests, for all tasks to answer.
        max_side: Limit on the sides of a grid.

    Raises:
        ValueError: If a task is missing or unknown, is no list, or has too many tests.
    """
    by_task = _check_tasks(name, values, tests)
    attempts, counts = {}, Counter[str]()
    for task, count in tests.items():
        given = [] if by_task[task] is None else by_task[task]
        if not isinstance(given, list) or len(given) > count:
            raise ValueError(
                f"{name}: task {task!r} must be a list of {count} tests, got"
                f" {_abbreviated(given)}; write a map of two attempts for each test"
            )
        attempts[task] = [
            _attempts_at(one, max_side, counts) for one in [*given, *[None] * (count - len(given))]
        ]
    return Submission(attempts, counts["missing"], counts["invalid"], counts["ignored"])


def _attempts_at(entry: object, max_side: int, counts: Counter[str]) -> list[np.ndarray]:
    """Return the grids among the attempts at one test, and count the others in `counts`."""
    given = entry if isinstance(entry, dict) else dict.fromkeys(NAMES, entry)
    counts["ignored"] += len({*given} - {*NAMES})
    found = []
    for attempt in NAMES:
        rows = given.get(attempt)
        try:
            found.append(as_grid(_with_integers(rows), max_side))
        except ValueError:
            counts["missing" if rows in (None, []) else "invalid"] += 1
    return found


def _with_integers(rows: object) -> object:
    """Return rows in which floats that are whole numbers are integers, and other values as is."""
    if not isinstance(rows, list):
        return rows
    return [[*map(_integer, row)] if isinstance(row, list) else row for row in rows]


def _integer(color: object) -> object:
    return int(color) if isinstance(color, float) and color.is_integer() else color


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
            more = f" (and {len(tasks) - 1} more such tasks)" if len(tasks) > 1 else ""
            raise ValueError(
                f"{name}: has {which} task {min(tasks)!r}{more};"
                f" a submission has exactly the {len(tests)} tasks to answer, so correct the file,"
                " or name that of its tasks: make score SUBMISSION=FILE TASKS=FILE"
            )
    return values


def solutions(name: object, values: object) -> dict[str, list[np.ndarray]]:
    """Return the right answers of a JSON file: task -> one grid for each test.

    The file is a solutions file of Kaggle, or a map from ids to tasks in ARC's format.

    Args:
        name: Name of the file in errors.
        values: The parsed JSON.

    Raises:
        ValueError: If the file is neither, or a test has no valid grid as its output.
    """
    if not isinstance(values, dict) or not values:
        raise ValueError(
            f"{name}: must map tasks to lists of grids, got {_abbreviated(values)}; take a"
            " solutions file of Kaggle, or a map from ids to tasks"
        )
    found = {}
    for task, value in values.items():
        grids = _outputs(value)
        if not isinstance(grids, list) or not grids:
            raise ValueError(
                f"{name}: task {task!r} must be a list of grids, or a task whose tests have"
                f" outputs, got {_abbreviated(value)}; take a solutions file of Kaggle, which has a"
                " grid for each test"
            )
        found[task] = [
            _grid(f"{name}: test {number} of task {task!r}", rows, MAX_SIDE)
            for number, rows in enumerate(grids)
        ]
    return found


def _outputs(value: object) -> object:
    """Return the outputs of the tests of a task, None if one is hidden, and other values as is."""
    if not isinstance(value, dict):
        return value
    tests = value.get("test")
    if not isinstance(tests, list) or not all(isinstance(one, dict) for one in tests):
        return None
    outputs = [one.get("output") for one in tests]
    return None if None in outputs else outputs


def score(
    attempts: Mapping[str, Sequence[Sequence[np.ndarray]]],
    truths: Mapping[str, Sequence[np.ndarray]],
) -> dict[str, float]:
    """Return three scores of a submission; a test is solved if one of its attempts is right.

    Args:
        attempts: Task -> for each of its tests, the attempts (`read`).
        truths: Task -> for each of its tests, the right answer; the tasks of `attempts`.

    Returns:
        `per_test`, the share of solved tests, which is Kaggle's rule; `per_task`, the mean over
        tasks of the share of solved tests (docs/metrics.md); and `all_tests`, the share of tasks
        whose tests are all solved.
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
    }


def _abbreviated(value: object) -> str:
    """Return the text of a value, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
