"""The table of scores: log-probabilities of the leading grids of a test in each of its views."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from arcmix import files
from arcmix.prediction.selection import Candidate, choices
from arcmix.prediction.tables import Test, check_logprob, read_rows, test_name

COLUMNS = {
    "task": "str",
    "test": "int64",
    "candidate": "int64",
    "view": "int64",
    "logprob": "float64",
    "tokens": "int64",
}
"""Columns of the table -> their types; the fields of `Score`."""


@dataclass(frozen=True)
class Score:
    """What a model gives to a distinct grid as the answer to one view of a test."""

    task: str
    """The task's id."""
    test: int
    """Number of the test."""
    candidate: int
    """Number of the grid among the distinct grids of the test, by first appearance."""
    view: int
    """Number of the view."""
    logprob: float
    """Summed log-probability of the grid's tokens, in nats."""
    tokens: int
    """Number of these tokens, the end token included."""


def write(path: Path, scores: Iterable[Score]) -> None:
    """Write scores, one row each."""
    table = pd.DataFrame([asdict(score) for score in scores], columns=[*COLUMNS])
    files.write_parquet(path, table.astype(COLUMNS))


def read(path: Path, answers: Mapping[Test, Sequence[Candidate]]) -> dict[Test, dict[int, float]]:
    """Return the summed log-probability of each distinct grid that was scored, by test.

    Args:
        path: The table of scores; it has no rows if nothing was scored.
        answers: The candidates of each test (`read`).

    Raises:
        ValueError: If the table is of other candidates, or two grids of a test are not scored
            in the same views, so that their sums do not compare.
    """
    rows = read_rows(path, COLUMNS, ("task", "test", "candidate", "view"), answers)
    found: dict[Test, dict[int, dict[int, float]]] = {test: defaultdict(dict) for test in answers}
    for row in rows:
        where = f"{path}: candidate {row['candidate']} in view {row['view']} of {test_name(row)}"
        check_logprob(where, row)
        found[row["task"], row["test"]][row["candidate"]][row["view"]] = row["logprob"]
    for test, scored in found.items():
        known = len(choices(answers[test]))
        views = {tuple(sorted(by_view)) for by_view in scored.values()}
        if any(number >= known for number in scored) or len(views) > 1:
            raise ValueError(
                f"{path}: test {test[1]} of task {test[0]!r} has scores of the candidates"
                f" {sorted(scored)} of {known}, in the views {sorted(views)}; each of them is"
                " scored in the same views, so repeat the stage that writes them"
            )
    return {
        test: {number: math.fsum(by_view.values()) for number, by_view in scored.items()}
        for test, scored in found.items()
    }
