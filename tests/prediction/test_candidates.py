import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from arcmix import files
from arcmix.prediction import candidates, scores, tables
from arcmix.prediction.selection import Candidate
from tests.answers import FAR, NEAR, TRUTH, stored_candidate, write_candidates, write_scores

TESTS = [("b", 0), ("00000001", 0), ("00000001", 1)]
ROWS = [
    stored_candidate("b", 0, 0, None, logprob=0.0, tokens=0),
    stored_candidate("b", 0, 1, None, tokens=7),
    stored_candidate("00000001", 0, 0, FAR),
    stored_candidate("00000001", 0, 0, NEAR, rank=1, logprob=-2.5),
    stored_candidate("00000001", 0, 1, FAR),
    stored_candidate("00000001", 1, 0, None, tokens=7),
    stored_candidate("00000001", 1, 1, TRUTH),
]
SCORES = [
    ("00000001", 0, 0, 0, -1.0),
    ("00000001", 0, 0, 1, -2.0),
    ("00000001", 0, 1, 0, -3.0),
    ("00000001", 0, 1, 1, -5.0),
    ("00000001", 1, 0, 1, -1.5),
]


def read(folder: Path, rows: list[dict[str, Any]]) -> dict[tables.Test, list[Candidate]]:
    write_candidates(folder / "candidates", rows)
    return candidates.read(folder / "candidates", TESTS)


def read_scores(folder: Path, rows: list[tuple[str, int, int, int, float]]) -> dict:
    write_scores(folder / "scores", rows)
    return scores.read(folder / "scores", read(folder, ROWS))


@pytest.mark.parametrize("step", [1, -1])
def test_candidates_are_read_by_view_and_rank_whatever_their_order(
    tmp_path: Path, step: int
) -> None:
    found = read(tmp_path, ROWS[::step])
    assert [*found] == TESTS
    assert found["b", 0] == [
        Candidate(None, 0.0, 0, ended=False),
        Candidate(None, -1.0, 7, ended=False),
    ]
    first, second, third = found["00000001", 0]
    assert [one.grid.tolist() for one in (first, second, third) if one.grid is not None] == [
        FAR.tolist(),
        NEAR.tolist(),
        FAR.tolist(),
    ]
    assert (second.logprob, second.tokens, second.ended) == (-2.5, 5, True)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param(
            [*ROWS, stored_candidate("c", 0, 0, FAR)],
            "candidates: ('c', 0) is not a task and test of validation, nor are 0 others",
            id="another-task",
        ),
        pytest.param(
            [*ROWS, ROWS[4]],
            "candidates: 1 of ('task', 'test', 'view', 'rank') have more than one row,"
            " first ('00000001', 0, 1, 0)",
            id="twice",
        ),
        pytest.param(
            ROWS[:-1],
            "test 1 of task '00000001' has no row of view and rank (1, 0); every test has a row"
            " in each of the 2 views",
            id="no-view",
        ),
        pytest.param(
            [*ROWS[:2], *ROWS[3:]],
            "test 0 of task '00000001' has no row of view and rank (0, 0)",
            id="no-rank",
        ),
        pytest.param(
            [], "test 0 of task 'b' has no row of view and rank (0, 0)", id="no-row-at-all"
        ),
        pytest.param(
            [*ROWS[:-1], ROWS[-1] | {"height": 3}],
            "rank 0 in view 1 of test 1 of task '00000001' has 6 cells and the shape (3, 3)",
            id="cells-that-do-not-fill-the-shape",
        ),
        pytest.param(
            [*ROWS[:-1], ROWS[-1] | {"height": None}],
            "has 6 cells and the shape (None, 3)",
            id="grid-without-a-height",
        ),
        pytest.param(
            [*ROWS[:-1], ROWS[-1] | {"logprob": float("nan")}],
            "has a log-probability of None over 5 tokens",
            id="logprob-not-a-number",
        ),
        pytest.param(
            [*ROWS[:-1], ROWS[-1] | {"tokens": 0}],
            "has a log-probability of -1.0 over 0 tokens",
            id="no-token",
        ),
    ],
)
def test_candidates_are_refused(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read(tmp_path, rows)


def test_a_table_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "candidates"
    files.write_parquet(path, pd.DataFrame({"task": ["b"], "test": [0], "view": [0]}))
    with pytest.raises(ValueError, match=r"candidates: has no column \['rank', .*repeat its stage"):
        candidates.read(path, TESTS)


@pytest.mark.parametrize("step", [1, -1])
def test_scores_are_summed_over_the_views(tmp_path: Path, step: int) -> None:
    found = read_scores(tmp_path, SCORES[::step])
    assert found == {("b", 0): {}, ("00000001", 0): {0: -3.0, 1: -8.0}, ("00000001", 1): {0: -1.5}}


def test_a_table_without_scores_scores_nothing(tmp_path: Path) -> None:
    assert read_scores(tmp_path, []) == {test: {} for test in TESTS}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param(
            [*SCORES, ("00000001", 2, 0, 0, -1.0)],
            "scores: ('00000001', 2) is not a task and test of validation",
            id="another-test",
        ),
        pytest.param(
            [*SCORES, SCORES[1]],
            "1 of ('task', 'test', 'candidate', 'view') have more than one row",
            id="twice",
        ),
        pytest.param(
            [*SCORES, ("00000001", 1, 1, 1, -1.0)],
            "test 1 of task '00000001' has scores of the candidates [0, 1] of 1, in the views"
            " [(1,)]",
            id="a-candidate-that-is-not-there",
        ),
        pytest.param(
            SCORES[1:],
            "has scores of the candidates [0, 1] of 2, in the views [(0, 1), (1,)]; each of them"
            " is scored in the same views",
            id="a-view-missing",
        ),
        pytest.param(
            [*SCORES[1:], (*SCORES[0][:-1], float("-inf"))],
            "candidate 0 in view 0 of test 0 of task '00000001' has a log-probability of -inf",
            id="not-finite",
        ),
    ],
)
def test_scores_are_refused(
    tmp_path: Path, rows: list[tuple[str, int, int, int, float]], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read_scores(tmp_path, rows)
