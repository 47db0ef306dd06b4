import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcmix.prediction.selection import RULES, Candidate
from arcmix.scoring import losses, metrics
from arcmix.scoring.losses import PromptLoss
from tests.answers import FAR, FLAT, NEAR, TRUTH, TURNED, UNASKED, candidate, candidates


def scored(answers: list[Candidate], scores: dict[int, float] | None = None) -> dict[str, float]:
    """Return the metrics of a test by all rules, `best` being chosen."""
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
        "vote_1": 1,
        "vote_2": 1,
        "product_1": 0,
        "product_2": 1,
        "best_logprob_1": 1,
        "best_logprob_2": 1,
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
        # The third different grid is no attempt.
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


def test_attempts_that_agree_leave_the_second_of_two_unanswered() -> None:
    found = scored([candidate(TRUTH), candidate(TRUTH)])
    assert (found["best_of_two"], found["best_of_two_unanswered"]) == (1, 0.5)
    assert found["unanswered"] == 0


@pytest.mark.parametrize("rule", RULES)
def test_selected_is_the_score_of_the_rule_in_force(rule: str) -> None:
    answers = [
        candidate(FAR, -4.0),
        candidate(FAR, -4.0),
        candidate(NEAR, -3.0),
        candidate(NEAR, -3.0),
        candidate(TRUTH, -1.0),
    ]
    found = metrics.score_test(answers, TRUTH, {}, rules=[rule], selection=rule)
    name = {"vote": "vote_count", "vote_logprob": "vote", "best": "best_logprob"}.get(rule, rule)
    for count in (1, 2):
        assert found[f"selected_{count}"] == found[f"{name}_{count}"] == (rule == "best")
    others = [f"{prefix}_1" for prefix in metrics.RULES.values() if prefix != name]
    assert not {*others} & found.keys()


@given(candidates)
def test_the_metrics_are_in_order(answers: list[Candidate]) -> None:
    found = scored(answers)
    assert 0 <= found["accuracy"] <= found["correct_pixels"] <= found["correct_size"]
    assert found["correct_size"] + found["unanswered"] <= 1
    assert found["correct_pixels"] <= found["max_correct_pixels"] <= found["any_correct_size"]
    for rule in metrics.RULES.values():
        assert found[f"{rule}_1"] <= found[f"{rule}_2"] <= found["pass_n"]
    assert found["best_of_two"] <= found["pass_n"]
    assert found["accuracy"] <= found["random2"] <= found["pass_n"]
    assert (found["accuracy"] > 0) == (found["pass_n"] == 1)


@given(candidates)
def test_random2_is_the_mean_over_all_pairs_of_draws(answers: list[Candidate]) -> None:
    exact = [one.grid is not None and np.array_equal(one.grid, TRUTH) for one in answers]
    pairs = [any(pair) for pair in itertools.product(exact, repeat=2)]
    assert scored(answers)["random2"] == pytest.approx(sum(pairs) / len(pairs))


@given(candidates)
def test_best_of_two_is_the_score_of_two_attempts_filled_one_after_the_other(
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


def test_a_run_of_three_tests_in_two_tasks() -> None:
    solved = scored([candidate(TRUTH), candidate(FAR)])
    missed = scored([candidate(FAR), candidate(TURNED)])
    found = metrics.summary({"a": [solved, missed], "b": [missed]})
    assert found["vote_2"] == found["pass_n"] == 1 / 4
    assert found["vote_2_per_test"] == pytest.approx(1 / 3)
    assert found["vote_2_all_tests"] == 0
    assert metrics.summary({"a": [solved, solved], "b": [missed]})["selected_2_all_tests"] == 1 / 2


@given(
    st.lists(
        st.lists(st.sampled_from([(TRUTH,), (TRUTH, FAR), (NEAR,)]), min_size=1, max_size=3),
        min_size=1,
        max_size=12,
    )
)
def test_all_tests_are_fewest_and_an_interval_holds_the_mean(
    run: list[list[tuple[np.ndarray, ...]]],
) -> None:
    tests = {
        str(number): [scored([candidate(grid) for grid in grids]) for grids in own]
        for number, own in enumerate(run)
    }
    found = metrics.summary(tests)
    for name in metrics.VARIANTS:
        assert found[f"{name}_all_tests"] <= found[name] + 1e-12
    for name in metrics.INTERVALS:
        assert -1e-12 <= found[f"{name}_low"] <= found[name] + 1e-12
        assert found[name] - 1e-12 <= found[f"{name}_high"] <= 1 + 1e-12


def alike(value: float) -> dict[str, float]:
    """Return a task of which every metric with an interval is the same."""
    return dict.fromkeys(metrics.INTERVALS, value)


def test_an_interval_of_shares_is_about_that_of_the_binomial() -> None:
    tasks = [alike(float(number < 30)) for number in range(100)]
    found = metrics.intervals(tasks)
    # Of 100 draws at 0.3 the 2.5th and 97.5th percentile are 21 and 39.
    assert found["vote_2_low"] == pytest.approx(0.21, abs=0.011)
    assert found["vote_2_high"] == pytest.approx(0.39, abs=0.011)
    assert metrics.intervals(tasks) == found


def test_tasks_that_score_alike_have_no_width() -> None:
    found = metrics.intervals([alike(0.3)] * 7)
    assert found["accuracy_low"] == pytest.approx(0.3)
    assert found["accuracy_high"] == pytest.approx(0.3)


PROMPTS = [
    PromptLoss("a", 6.0, 2, 1),
    PromptLoss("b", 4.0, 4, 3),
    PromptLoss("b", 2.0, 10, 8),
]


def test_the_losses_of_three_prompts() -> None:
    found = losses.mean_losses(PROMPTS)
    assert found.per_token == pytest.approx(12 / 16)
    assert found.per_prompt == pytest.approx((3 + 1 + 0.2) / 3)
    assert found.per_task == pytest.approx((3 + 6 / 14) / 2)
    assert found.per_cell == pytest.approx(12 / 12)
    assert found.tasks == {"a": 3, "b": pytest.approx(6 / 14)}


@given(
    st.lists(
        st.builds(
            PromptLoss,
            st.sampled_from("abc"),
            st.floats(0, 1e3),
            st.integers(1, 900),
            st.integers(1, 900),
        ),
        min_size=1,
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_of_the_prompts_does_not_change_a_loss(
    prompts: list[PromptLoss], dice: random.Random
) -> None:
    shuffled = dice.sample(prompts, len(prompts))
    assert losses.mean_losses(shuffled) == losses.mean_losses(prompts)


def test_the_three_losses_agree_on_prompts_of_one_length() -> None:
    found = losses.mean_losses(
        [PromptLoss(task, nll, 8, 5) for task, nll in zip("abc", (1, 2, 6), strict=True)]
    )
    assert math.isclose(found.per_token, found.per_prompt)
    assert math.isclose(found.per_token, found.per_task)
