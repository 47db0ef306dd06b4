"""The table of scores: the log-probability of each leading grid of a test in each view."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from arcmix import checked, files
from arcmix.prediction.selection import Candidate, choices
from arcmix.prediction.tables import Test, read_rows

COLUMNS = {
    "task": "str",
    "test": "int64",
    "candidate": "int64",
    "view": "int64",
    "logprob": "float64",
    "tokens": "int64",
}
"""Columns of the table -> their dtypes; the columns are the fields of `Score`."""

REMEDY = "repeat the stage that writes the table: dvc repro -f -s predict"
"""End of the error about a wrong table."""


@checked.STRICT
@dataclass(frozen=True)
class Score:
    """The log-probability of a distinct grid as the answer to one view of a test."""

    task: checked.TaskId
    """The task's id."""
    test: checked.Count
    """Number of the test."""
    candidate: checked.Count
    """Number of the grid among the distinct grids of the test, in order of first appearance."""
    view: checked.Count
    """Number of the view."""
    logprob: checked.Number
    """Sum of the log-probabilities of the grid's tokens, in nats."""
    tokens: checked.Positive
    """Number of the grid's tokens, the end token included."""


def write(path: Path, scores: Iterable[Score]) -> None:
    """Write the table, with a row for each score."""
    table = pd.DataFrame([asdict(score) for score in scores], columns=[*COLUMNS])
    files.write_parquet(path, table.astype(COLUMNS))


def read(path: Path, answers: Mapping[Test, Sequence[Candidate]]) -> dict[Test, dict[int, float]]:
    """Return the sums over views of the log-probabilities of the scored grids, by test.

    Args:
        path: The table of scores; it has no rows if no grid was scored.
        answers: The candidates of each test (`candidates.read`).

    Raises:
        ValueError: If the table has other candidates, if a log-probability is not finite, or if two
            grids of a test are scored in different views, so that their sums cannot be compared.
    """
    rows = read_rows(path, Score, ("task", "test", "candidate", "view"), answers, REMEDY)
    found: dict[Test, dict[int, dict[int, float]]] = {test: defaultdict(dict) for test in answers}
    for row in rows:
        found[row.task, row.test][row.candidate][row.view] = row.logprob
    for test, scored in found.items():
        known = len(choices(answers[test]))
        views = {tuple(sorted(by_view)) for by_view in scored.values()}
        if any(number >= known for number in scored) or len(views) > 1:
            raise ValueError(
                f"{path}: test {test[1]} of task {test[0]!r} has scores of the candidates"
                f" {sorted(scored)} of {known}, in the views {sorted(views)}; only these {known}"
                f" have scores, all in the same views; {REMEDY}"
            )
    return {
        test: {number: math.fsum(by_view.values()) for number, by_view in scored.items()}
        for test, scored in found.items()
    }
