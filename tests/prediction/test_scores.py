import re
from pathlib import Path

import pandas as pd
import pytest

from arcmix.prediction import scores, tables
from arcmix.prediction.scores import Score
from tests.answers import FAR, NEAR, TRUTH, UNASKED, candidate, write_scores

ANSWERS = {
    ("b", 0): [UNASKED, candidate(None)],
    ("00000001", 0): [candidate(FAR), candidate(NEAR, -2.5), candidate(FAR)],
    ("00000001", 1): [candidate(None), candidate(TRUTH)],
}
SCORES = [
    ("00000001", 0, 0, 0, -1.0),
    ("00000001", 0, 0, 1, -2.0),
    ("00000001", 0, 1, 0, -3.0),
    ("00000001", 0, 1, 1, -5.0),
    ("00000001", 1, 0, 1, -1.5),
]


def read(
    folder: Path, rows: list[tuple[str, int, int, int, float]]
) -> dict[tables.Test, dict[int, float]]:
    write_scores(folder / "scores", rows)
    return scores.read(folder / "scores", ANSWERS)


def test_scores_are_read_as_they_were_written(tmp_path: Path) -> None:
    scores.write(tmp_path / "scores", [Score(*row, tokens=5) for row in SCORES[:2]])
    found = scores.read(tmp_path / "scores", ANSWERS)
    assert found == {("b", 0): {}, ("00000001", 0): {0: -3.0}, ("00000001", 1): {}}


def test_a_table_without_scores_has_no_rows(tmp_path: Path) -> None:
    scores.write(tmp_path / "scores", [])
    assert pd.read_parquet(tmp_path / "scores").dtypes.astype(str).to_dict() == scores.COLUMNS
    assert scores.read(tmp_path / "scores", ANSWERS) == {test: {} for test in ANSWERS}


@pytest.mark.parametrize("step", [1, -1])
def test_scores_are_summed_over_the_views(tmp_path: Path, step: int) -> None:
    found = read(tmp_path, SCORES[::step])
    assert found == {("b", 0): {}, ("00000001", 0): {0: -3.0, 1: -8.0}, ("00000001", 1): {0: -1.5}}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param(
            [*SCORES, ("00000001", 2, 0, 0, -1.0)],
            "scores: ('00000001', 2) is not a validation task and one of its tests",
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
            "has scores of the candidates [0, 1] of 2, in the views [(0, 1), (1,)]; only these 2"
            " have scores, all in the same views",
            id="a-view-missing",
        ),
        pytest.param(
            [*SCORES[1:], (*SCORES[0][:-1], float("-inf"))],
            "row 4, logprob: Input should be a finite number, got -inf; repeat the stage that",
            id="not-finite",
        ),
        pytest.param(
            [*SCORES, ("00000001", 0, -1, 0, -1.0)],
            "row 5, candidate: Input should be greater than or equal to 0, got -1",
            id="a-negative-candidate",
        ),
    ],
)
def test_a_damaged_table_of_scores_is_refused(
    tmp_path: Path, rows: list[tuple[str, int, int, int, float]], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read(tmp_path, rows)
