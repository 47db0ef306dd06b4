import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from arcmix.prediction import candidates, tables
from arcmix.prediction.selection import Candidate
from arcmix.prediction.views import views_of
from tests.answers import (
    FAR,
    NEAR,
    TRUTH,
    UNASKED,
    candidate,
    stored_candidate,
    write_candidates,
)
from tests.arc import task

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


def read(folder: Path, rows: list[dict[str, Any]]) -> dict[tables.Test, list[Candidate]]:
    write_candidates(folder / "candidates", rows)
    return candidates.read(folder / "candidates", TESTS, 2)


def test_candidates_are_read_as_they_were_written(tmp_path: Path) -> None:
    [first, second] = views_of(task("b"), 0, 2, 0.1, 0)
    written = [(first, [candidate(FAR), candidate(TRUTH, -2.5, 7)]), (second, [UNASKED])]
    candidates.write(tmp_path / "candidates", written)

    [found] = candidates.read(tmp_path / "candidates", [("b", 0)], 2).values()

    assert [replace(one, grid=None) for one in found] == [
        Candidate(None, -1.0, 4, ended=True),
        Candidate(None, -2.5, 7, ended=True),
        UNASKED,
    ]
    assert [one.grid if one.grid is None else one.grid.tolist() for one in found] == [
        FAR.tolist(),
        TRUTH.tolist(),
        None,
    ]


@pytest.mark.parametrize("step", [1, -1])
def test_candidates_are_read_by_view_and_rank_in_any_order_of_rows(
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
            "row 6, logprob: Input should be a valid number, got None; repeat the stage that writes"
            " the table: dvc repro -f -s predict",
            id="logprob-not-a-number",
        ),
        pytest.param(
            [*ROWS[:-1], ROWS[-1] | {"tokens": 0}],
            "rank 0 in view 1 of test 1 of task '00000001' has a grid of 0 tokens",
            id="no-token",
        ),
        pytest.param(
            [*ROWS[:-1], ROWS[-1] | {"grid": TRUTH.reshape(-1) + 0.7}],
            "row 2, grid, 0: Input should be a valid integer, got 0.0 (and 5 more)",
            id="color-with-a-fraction",
        ),
        pytest.param(
            [*ROWS[:-1], ROWS[-1] | {"grid": TRUTH.reshape(-1) + 8}],
            "row 6, grid, 1: Input should be less than or equal to 9, got 10 (and 4 more)",
            id="color-above-9",
        ),
        pytest.param(
            [*ROWS[:-1], ROWS[-1] | {"grid": None}],
            "has 0 cells and the shape (2, 3)",
            id="shape-without-a-grid",
        ),
        pytest.param(
            [*ROWS[:-1], ROWS[-1] | {"view": -1}],
            "row 6, view: Input should be greater than or equal to 0, got -1",
            id="negative-view",
        ),
        pytest.param(
            [row for row in ROWS if row["view"] == 0],
            "test 0 of task 'b' has no row of view and rank (1, 0); every test has a row in each of"
            " the 2 views of predict.views",
            id="a-view-less-everywhere",
        ),
        pytest.param(
            [*ROWS, *(row | {"view": 2} for row in ROWS if row["view"] == 1)],
            "test 0 of task 'b' has a row of view and rank (2, 0); every test has",
            id="a-view-more-everywhere",
        ),
    ],
)
def test_a_damaged_table_of_candidates_is_refused(
    tmp_path: Path, rows: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read(tmp_path, rows)
