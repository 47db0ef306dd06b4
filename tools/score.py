"""Print the scores of submissions in Kaggle's format, as a table.

Reads the submissions, and the right answers from a table of tasks, a solutions file of Kaggle, or a
JSON map from ids to tasks.
"""

import sys
from pathlib import Path

import numpy as np

from arcmix import files, program
from arcmix import tasks as tables
from arcmix.ledger import markdown
from arcmix.scoring import submission

COLUMNS = {
    "submission": "<",
    "per test": ">",
    "per task": ">",
    "all tests": ">",
    "answered": ">",
    "missing": ">",
    "no grid": ">",
    "ignored": ">",
}
"""Columns of the table -> their alignment."""

LEGEND = """
{tests} tests of {tasks} tasks. per test: the share of the solved tests, which is Kaggle's rule.
per task: the mean over tasks of that share. all tests: the share of tasks with all tests solved.
answered: tests with a grid. missing, no grid, ignored: attempts that are left out or empty, that
are no grid, and beyond the second one.
"""


def run(*, answers: list[Path], tasks: Path) -> None:
    """Print the shares of the tests of `tasks` that each submission of `answers` solves.

    A submission that cannot be read does not keep the others from the table.
    """
    truths, max_side = _truths(tasks)
    counts = {task: len(own) for task, own in truths.items()}
    rows, errors = [], []
    for path in answers:
        try:
            read = submission.read(path, files.read_json(path), counts, max_side)
        except FileNotFoundError:
            errors.append(f"{path}: there is no such file; give the path of a submission")
            continue
        except (OSError, ValueError) as error:
            errors.append(str(error))
            continue
        found = submission.score(read.attempts, truths)
        shares = [f"{found[name]:.4f}" for name in ("per_test", "per_task", "all_tests")]
        answered = sum(bool(grids) for own in read.attempts.values() for grids in own)
        numbers = map(str, (answered, read.missing, read.invalid, read.ignored))
        rows.append([str(path), *shares, *numbers])
    legend = LEGEND.format(tests=sum(counts.values()), tasks=len(counts))
    if rows:
        sys.stdout.write(f"{markdown.table(COLUMNS, rows)}\n{legend}")
    if errors:
        raise ValueError(f"{len(errors)} of {len(answers)} files: {' | '.join(errors)}")


def _truths(path: Path) -> tuple[dict[str, list[np.ndarray]], int]:
    """Return the right answers of each task, and the limit on the sides of an answer.

    Raises:
        ValueError: If there are no tasks, or if two tasks have the same id.
    """
    if path.suffix == ".json":
        return submission.solutions(path, files.read_json(path)), tables.MAX_SIDE
    found = tables.read(path)
    truths = {task.id: [pair.output for pair in task.test] for task in found}
    if len(truths) < len(found):
        raise ValueError(
            f"{path}: {len(found)} tasks have {len(truths)} ids, and a submission identifies tasks"
            " by id; take a table without variations"
        )
    if not found:
        raise ValueError(f"{path}: the table has 0 tasks; take a table with at least 1 task")
    return truths, tables.longest_side(found)


if __name__ == "__main__":
    program.main(run)
