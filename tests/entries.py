"""Tasks with answers for tests of the report."""

from collections.abc import Sequence

import numpy as np

from arcmix.pages.report import Entry, Ranking
from arcmix.prediction import selection
from arcmix.prediction.selection import Candidate
from arcmix.tasks import Pair, Task
from tests.arc import pair

TRUTH = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
CLOSE = np.array([[1, 2, 0], [4, 0, 6]], np.uint8)
FAR = np.array([[7, 8, 9], [0, 7, 8]], np.uint8)
LONG = np.array([[1, 2, 3], [4, 5, 6], [1, 2, 3]], np.uint8)
"""The right answer, one with two wrong cells, one with only wrong cells, one with another shape."""


def ranking(grids: Sequence[np.ndarray | None], scores: selection.Scores | None = None) -> Ranking:
    """Return the ranking of candidates by votes; an earlier candidate is more probable."""
    candidates = [
        Candidate(grid, -0.5 - 0.25 * number, 2, ended=grid is not None)
        for number, grid in enumerate(grids)
    ]
    scores = scores or {}
    ranked = selection.ranked("vote_logprob", candidates, scores)
    return Ranking(tuple(ranked), len(candidates), scores)


def entry(
    id_: str,
    *tests: Sequence[np.ndarray | None],
    loss: float | None = None,
    truth: np.ndarray = TRUTH,
    scores: selection.Scores | None = None,
) -> Entry:
    """Return a task with one test per list of answers; all tests have the same output."""
    shown = tuple(pair(number, height=1 + number, width=4) for number in range(2))
    asked = tuple(Pair(truth.T, truth) for _ in tests)
    task = Task(id_, "arc", "evaluation", 0, shown, asked)
    return Entry(task, tuple(ranking(grids, scores) for grids in tests), loss)
