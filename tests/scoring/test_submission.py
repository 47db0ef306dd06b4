import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcmix.scoring import submission
from arcmix.tasks import MAX_SIDE
from tests.arc import grids

ONE = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
TWO = np.array([[7], [8]], np.uint8)
NONE = [[0, 0], [0, 0]]
TESTS = {"00576224": 1, "12997ef3": 2}
# As in Kaggle's sample: a task with one test, and a task with two.
SAMPLE = {
    "00576224": [{"attempt_1": NONE, "attempt_2": NONE}],
    "12997ef3": [{"attempt_1": NONE, "attempt_2": NONE}, {"attempt_1": NONE, "attempt_2": NONE}],
}


def test_the_sample_of_kaggle_is_accepted() -> None:
    found = submission.read("sample", SAMPLE, TESTS, MAX_SIDE)
    assert {task: np.shape(tests) for task, tests in found.attempts.items()} == {
        "00576224": (1, 2, 2, 2),
        "12997ef3": (2, 2, 2, 2),
    }
    assert (found.missing, found.invalid, found.ignored) == (0, 0, 0)


def test_missing_attempts_are_filled_as_in_the_sample() -> None:
    answers = {"b": [[ONE, TWO, ONE.T]], "a": [[TWO], []]}
    text = submission.text(answers)
    assert [*json.loads(text).items()] == [
        ("b", [{"attempt_1": ONE.tolist(), "attempt_2": TWO.tolist()}]),
        (
            "a",
            [
                {"attempt_1": TWO.tolist(), "attempt_2": NONE},
                {"attempt_1": NONE, "attempt_2": NONE},
            ],
        ),
    ]
    assert len(text.splitlines()) == 4


@given(
    st.dictionaries(
        st.text("0123456789abcdef", min_size=1, max_size=8),
        st.lists(st.lists(grids, max_size=3), min_size=1, max_size=3),
        max_size=4,
    )
)
def test_a_submission_holds_the_first_two_answers_of_every_test(
    answers: dict[str, list[list[np.ndarray]]],
) -> None:
    values = json.loads(submission.text(answers))
    tests = {task: len(own) for task, own in answers.items()}
    found = submission.read("made", values, tests, MAX_SIDE).attempts
    for task, own in answers.items():
        for attempts, grids_ in zip(found[task], own, strict=True):
            assert len(attempts) == 2
            for attempt, grid in zip(attempts, grids_, strict=False):
                assert np.array_equal(attempt, grid)


def changed(*steps: Any, to: Any) -> Any:
    """Return the sample with another value at one place."""
    values = node = json.loads(json.dumps(SAMPLE))
    for step in steps[:-1]:
        node = node[step]
    node[steps[-1]] = to
    return values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param([], "it: must map tasks to answers, got []; write a map", id="list"),
        pytest.param({}, "it: has no task '00576224' (and 1 more such tasks)", id="empty"),
        pytest.param(
            SAMPLE | {"x": []},
            "it: has an unknown task 'x'; a submission has exactly the 2 tasks to answer",
            id="unknown-task",
        ),
        pytest.param(
            changed("00576224", to=SAMPLE["12997ef3"]),
            "it: task '00576224' must be a list of 1 tests, got [{'attempt_1'",
            id="too-many-tests",
        ),
        pytest.param(
            changed("12997ef3", to={"0": 1}),
            "it: task '12997ef3' must be a list of 2 tests, got {'0': 1}",
            id="no-list",
        ),
    ],
)
def test_read_names_the_place_of_an_error(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        submission.read("it", values, TESTS, MAX_SIDE)


@pytest.mark.parametrize(
    ("values", "left", "counts"),
    [
        pytest.param(
            changed("12997ef3", to=SAMPLE["00576224"]), [2, 0], (2, 0, 0), id="a-test-short"
        ),
        pytest.param(changed("12997ef3", to=[]), [0, 0], (4, 0, 0), id="no-tests"),
        pytest.param(changed("12997ef3", to=None), [0, 0], (4, 0, 0), id="null-for-a-task"),
        pytest.param(changed("12997ef3", 0, to=None), [0, 2], (2, 0, 0), id="null-for-a-test"),
        pytest.param(changed("12997ef3", 1, to=[]), [2, 0], (2, 0, 0), id="empty-list-for-a-test"),
        pytest.param(changed("12997ef3", 1, to={}), [2, 0], (2, 0, 0), id="no-attempts"),
        pytest.param(
            changed("12997ef3", 1, to={"attempt_1": NONE}), [2, 1], (1, 0, 0), id="one-attempt"
        ),
        pytest.param(
            changed("12997ef3", 0, "attempt_3", to=NONE), [2, 2], (0, 0, 1), id="three-attempts"
        ),
        pytest.param(
            changed("12997ef3", 0, to=[NONE, NONE]), [0, 2], (0, 2, 0), id="list-of-attempts"
        ),
        pytest.param(
            changed("12997ef3", 0, "attempt_2", to=None), [1, 2], (1, 0, 0), id="null-attempt"
        ),
        pytest.param(
            changed("12997ef3", 0, "attempt_2", to=[]), [1, 2], (1, 0, 0), id="empty-attempt"
        ),
        pytest.param(
            changed("12997ef3", 0, "attempt_1", to=[[]]), [1, 2], (0, 1, 0), id="empty-row"
        ),
        pytest.param(
            changed("12997ef3", 0, "attempt_1", to=[[1, 2], [3]]), [1, 2], (0, 1, 0), id="ragged"
        ),
        pytest.param(
            changed("12997ef3", 0, "attempt_1", to=[[1, 10, -1]]), [1, 2], (0, 1, 0), id="color"
        ),
        pytest.param(
            changed("12997ef3", 0, "attempt_1", to=[[1.5]]), [1, 2], (0, 1, 0), id="fraction"
        ),
        pytest.param(
            changed("12997ef3", 0, "attempt_1", to=[[float("nan")]]), [1, 2], (0, 1, 0), id="nan"
        ),
        pytest.param(changed("12997ef3", 0, "attempt_1", to=[["1"]]), [1, 2], (0, 1, 0), id="text"),
        pytest.param(
            changed("12997ef3", 0, "attempt_1", to=[[True]]), [1, 2], (0, 1, 0), id="boolean"
        ),
        pytest.param(
            changed("12997ef3", 0, "attempt_1", to=[[0]] * 31), [1, 2], (0, 1, 0), id="too-large"
        ),
    ],
)
def test_what_is_no_grid_counts_as_no_answer(
    values: Any, left: list[int], counts: tuple[int, int, int]
) -> None:
    found = submission.read("it", values, TESTS, MAX_SIDE)
    assert [*map(len, found.attempts["12997ef3"])] == left
    assert [*map(len, found.attempts["00576224"])] == [2]
    assert (found.missing, found.invalid, found.ignored) == counts


def test_integers_may_be_written_as_floats() -> None:
    values = changed("00576224", 0, "attempt_1", to=[[1.0, 2, 3e0]])
    [[first, _]] = submission.read("it", values, TESTS, MAX_SIDE).attempts["00576224"]
    assert first.dtype == np.uint8
    assert first.tolist() == [[1, 2, 3]]


def test_the_largest_and_the_smallest_grid_are_accepted() -> None:
    largest = [[9] * 30 for _ in range(30)]
    submission.read("it", changed("00576224", 0, "attempt_2", to=largest), TESTS, MAX_SIDE)
    submission.read("it", changed("00576224", 0, "attempt_2", to=[[0]]), TESTS, MAX_SIDE)


def test_the_three_scores_of_a_submission() -> None:
    truths = {"a": [ONE, TWO], "b": [TWO], "c": [ONE]}
    attempts = {"a": [[TWO, ONE], [ONE, ONE]], "b": [[TWO, ONE]], "c": [[ONE.T, TWO]]}
    assert submission.score(attempts, truths) == {
        "per_test": 2 / 4,
        "per_task": pytest.approx(1.5 / 3),
        "all_tests": pytest.approx(1 / 3),
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "it: must map tasks to lists of grids, got []; take"),
        (
            {"a": {"train": []}},
            "it: task 'a' must be a list of grids, or a task whose tests have outputs, got {",
        ),
        (
            {"a": {"test": [{"input": [[1]], "output": [[2]]}, {"input": [[3]]}]}},
            "it: task 'a' must be a list of grids, or a task whose tests have outputs, got",
        ),
        ({"a": {"test": [[[1]]]}}, "it: task 'a' must be a list of grids, or a task whose tests"),
        (
            {"a": [[[1]], [[1], [2, 3]]]},
            "it: test 1 of task 'a': the rows of a grid differ in width",
        ),
    ],
)
def test_solutions_names_the_place_of_an_error(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        submission.solutions("it", values)
