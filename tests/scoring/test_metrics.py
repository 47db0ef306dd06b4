import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcmix.prediction.selection import RULES, Candidate
from arcmix.scoring import metrics
from arcmix.stats import shares
from tests.answers import FAR, FLAT, NEAR, TRUTH, TURNED, UNASKED, candidate, candidates


def scored(answers: list[Candidate], scores: dict[int, float] | None = None) -> dict[str, float]:
    """Return the metrics of a test by all rules, with `best` as the selected rule."""
    return metrics.score_test(answers, TRUTH, scores or {}, rules=[*RULES], selection="best")


def test_the_metrics_of_four_candidates() -> None:
    answers = [candidate(NEAR), candidate(None), candidate(TRUTH, -0.5), candidate(TURNED)]
    assert scored(answers, {0: -3.0, 1: -4.0}) == {
        "accuracy": 1 / 4,
        "correct_pixels": pytest.approx((5 / 6 + 1) / 4),
        "max_correct_pixels": 1,
        "correct_size": 2 / 4,
        "any_correct_size": 1,
        "pass_n": 1,
        "random2": pytest.approx(7 / 16),
        "unanswered": 1 / 4,
        "vote_count_1": 0,
        "vote_count_2": 1,
        "vote_logprob_1": 1,
        "vote_logprob_2": 1,
        "product_1": 0,
        "product_2": 1,
        "best_1": 1,
        "best_2": 1,
        "selected_1": 1,
        "selected_2": 1,
        "best_of_two": 1,
        "best_of_two_pixels": 1,
        "best_of_two_size": 1,
        "best_of_two_unanswered": 0,
    }


def test_the_metrics_of_wrong_candidates() -> None:
    answers = [candidate(FLAT), candidate(FLAT), candidate(FAR), candidate(NEAR)]
    found = scored(answers)
    positive = {name: value for name, value in found.items() if value}
    assert positive == {
        "correct_pixels": pytest.approx((1 / 6 + 5 / 6) / 4),
        "max_correct_pixels": pytest.approx(5 / 6),
        "correct_size": 1 / 2,
        "any_correct_size": 1,
        # The third distinct grid is not an attempt.
        "best_of_two_pixels": pytest.approx(1 / 6),
        "best_of_two_size": 1,
    }


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([UNASKED], id="one-view"),
        pytest.param([candidate(None), UNASKED, candidate(None)], id="three-views"),
    ],
)
def test_a_test_without_a_grid_is_unanswered_and_wrong(answers: list[Candidate]) -> None:
    found = scored(answers)
    assert found.pop("unanswered") == 1
    assert found.pop("best_of_two_unanswered") == 1
    assert set(found.values()) == {0}


def test_equal_answers_leave_the_second_attempt_unanswered() -> None:
    found = scored([candidate(TRUTH), candidate(TRUTH)])
    assert (found["best_of_two"], found["best_of_two_unanswered"]) == (1, 0.5)
    assert found["unanswered"] == 0


@pytest.mark.parametrize("rule", RULES)
def test_the_selected_metrics_are_those_of_the_selected_rule(rule: str) -> None:
    answers = [
        candidate(FAR, -4.0),
        candidate(FAR, -4.0),
        candidate(NEAR, -3.0),
        candidate(NEAR, -3.0),
        candidate(TRUTH, -1.0),
    ]
    found = metrics.score_test(answers, TRUTH, {}, rules=[rule], selection=rule)
    for count in (1, 2):
        assert found[f"selected_{count}"] == found[f"{rule}_{count}"] == (rule == "best")
    others = [f"{other}_1" for other in RULES if other != rule]
    assert not {*others} & found.keys()


@given(candidates)
def test_no_metric_exceeds_a_metric_that_bounds_it(answers: list[Candidate]) -> None:
    found = scored(answers)
    assert 0 <= found["accuracy"] <= found["correct_pixels"] <= found["correct_size"]
    assert found["correct_size"] + found["unanswered"] <= 1
    assert found["correct_pixels"] <= found["max_correct_pixels"] <= found["any_correct_size"]
    for rule in RULES:
        assert found[f"{rule}_1"] <= found[f"{rule}_2"] <= found["pass_n"]
    assert found["best_of_two"] <= found["pass_n"]
    assert found["accuracy"] <= found["random2"] <= found["pass_n"]
    assert (found["accuracy"] > 0) == (found["pass_n"] == 1)


@given(candidates)
def test_random2_is_the_mean_over_all_pairs_of_candidates(answers: list[Candidate]) -> None:
    exact = [one.grid is not None and np.array_equal(one.grid, TRUTH) for one in answers]
    pairs = [any(pair) for pair in itertools.product(exact, repeat=2)]
    assert scored(answers)["random2"] == pytest.approx(sum(pairs) / len(pairs))


@given(candidates)
def test_best_of_two_scores_the_first_two_distinct_grids(
    answers: list[Candidate],
) -> None:
    attempts: list[list[list[int]]] = [[], []]
    for one in answers:
        grid = [] if one.grid is None else one.grid.tolist()
        if not grid:
            continue
        if not attempts[0]:
            attempts[0] = grid
        elif grid != attempts[0] and not attempts[1]:
            attempts[1] = grid
    filled = [np.array(grid) for grid in attempts if grid]
    fitting = [grid == TRUTH for grid in filled if grid.shape == TRUTH.shape]
    found = scored(answers)
    assert found["best_of_two"] == max((equal.all() for equal in fitting), default=0)
    assert found["best_of_two_pixels"] == max((equal.mean() for equal in fitting), default=0)
    assert found["best_of_two_size"] == bool(fitting)
    assert found["best_of_two_unanswered"] == (2 - len(filled)) / 2


def test_the_summary_of_three_tests_in_two_tasks() -> None:
    solved = scored([candidate(TRUTH), candidate(FAR)])
    missed = scored([candidate(FAR), candidate(TURNED)])
    found = metrics.summary({"a": [solved, missed], "b": [missed]}, ["a"])
    assert found.keys() == solved.keys()
    expected = {"mean": 1 / 4, "per_test": pytest.approx(1 / 3), "all_tests": 0, "clean": 1 / 2}
    expected |= dict(zip(("low", "high"), shares.interval(1 / 4, 2), strict=True))
    assert found["vote_logprob_2"] == found["selected_2"] == found["pass_n"] == expected
    both = metrics.summary({"a": [solved, solved], "b": [missed]}, ["a"])
    assert both["selected_2"]["all_tests"] == 1 / 2


def test_without_a_clean_task_no_metric_has_a_clean_value() -> None:
    found = metrics.summary({"a": [scored([candidate(TRUTH)])]}, [])
    columns = {"mean", "low", "high", "per_test", "all_tests"}
    assert all(values.keys() == columns for values in found.values())


@given(
    st.lists(
        st.lists(st.sampled_from([(TRUTH,), (TRUTH, FAR), (NEAR,)]), min_size=1, max_size=3),
        min_size=1,
        max_size=12,
    )
)
def test_all_tests_is_the_smallest_mean_and_the_interval_contains_the_mean(
    run: list[list[tuple[np.ndarray, ...]]],
) -> None:
    tests = {
        str(number): [scored([candidate(grid) for grid in grids]) for grids in own]
        for number, own in enumerate(run)
    }
    for found in metrics.summary(tests, [*tests]).values():
        assert found["all_tests"] <= found["mean"] + 1e-12
        assert -1e-12 <= found["low"] <= found["mean"] + 1e-12
        assert found["mean"] - 1e-12 <= found["high"] <= 1 + 1e-12
        assert found["clean"] == found["mean"]


@pytest.mark.parametrize(
    ("attempts", "solved"),
    [
        ([], False),
        ([TRUTH], True),
        ([FLAT, TRUTH], True),
        ([NEAR, FLAT, TURNED], False),
    ],
)
def test_a_test_is_solved_if_an_attempt_equals_the_answer_in_shape_and_cells(
    attempts: list[np.ndarray], *, solved: bool
) -> None:
    assert metrics.solves(attempts, TRUTH) == solved
