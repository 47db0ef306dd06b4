"""Print the score of a submission in Kaggle's format.

Reads the submission, and the right answers from a table of tasks or a solutions file of Kaggle.
"""

import sys
from pathlib import Path

import numpy as np

from arcmix import files, program
from arcmix import tasks as tables
from arcmix.scoring import submission


def run(*, answers: Path, tasks: Path) -> None:
    """Print the shares of the tests of `tasks` that the submission `answers` solves."""
    truths, max_side = _truths(tasks)
    counts = {task: len(own) for task, own in truths.items()}
    attempts = submission.check(answers, files.read_json(answers), counts, max_side)
    found = submission.score(attempts, truths)
    sys.stdout.write(
        f"per test, Kaggle's rule            {found['per_test']:.4f}\n"
        f"per task, the share of its tests   {found['per_task']:.4f}\n"
        f"all tests of a task                {found['all_tests']:.4f}\n"
        f"{found['tasks']} tasks, {found['tests']} tests\n"
    )


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
