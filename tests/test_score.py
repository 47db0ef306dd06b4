import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcmix import score
from arcmix.score import UNANSWERED, Candidate, PromptLoss

TRUTH = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
NEAR = np.array([[1, 2, 3], [4, 5, 0]], np.uint8)
FAR = np.array([[0, 0, 3], [0, 0, 0]], np.uint8)
TURNED = TRUTH.T.copy()
FLAT = TRUTH.reshape(1, 6)


def candidate(grid: np.ndarray | None, logprob: float = -1.0, tokens: int = 4) -> Candidate:
    return Candidate(grid, logprob, tokens)


def test_the_metrics_of_four_candidates() -> None:
    answers = [candidate(NEAR), candidate(None), candidate(TRUTH), candidate(TURNED)]
    assert score.score_test(answers, TRUTH) == {
        "accuracy": 1 / 4,
        "correct_pixels": pytest.approx((5 / 6 + 1) / 4),
        "max_correct_pixels": 1,
        "correct_size": 2 / 4,
        "any_correct_size": 1,
        "pass_n": 1,
        "vote_1": 0,
        "vote_2": 1,
        "unanswered": 1 / 4,
    }


def test_the_metrics_of_wrong_candidates() -> None:
    answers = [candidate(FAR), candidate(NEAR), candidate(FLAT)]
    assert score.score_test(answers, TRUTH) == {
        "accuracy": 0,
        "correct_pixels": pytest.approx((1 / 6 + 5 / 6) / 3),
        "max_correct_pixels": pytest.approx(5 / 6),
        "correct_size": pytest.approx(2 / 3),
        "any_correct_size": 1,
        "pass_n": 0,
        "vote_1": 0,
        "vote_2": 0,
        "unanswered": 0,
    }


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([], id="no-candidate"),
        pytest.param([UNANSWERED], id="one-view"),
        pytest.param([candidate(None), UNANSWERED, candidate(None)], id="three-views"),
    ],
)
def test_a_test_without_a_grid_is_unanswered_and_wrong(answers: list[Candidate]) -> None:
    found = score.score_test(answers, TRUTH)
    assert found.pop("unanswered") == 1
    assert set(found.values()) == {0}


def test_more_votes_win_over_more_confidence() -> None:
    answers = [candidate(TRUTH, -0.1), candidate(NEAR, -8), candidate(NEAR, -9)]
    ranked = score.vote(answers)
    assert [grid.tolist() for grid in ranked] == [NEAR.tolist(), TRUTH.tolist()]


def test_among_equal_votes_the_mean_logprob_per_token_decides() -> None:
    # Per token NEAR has -1 and -2, mean -1.5; TRUTH -0.5 and -2.4, mean -1.45. By the sums,
    # by the pooled tokens or by the first view alone another grid would win or they would tie.
    answers = [
        candidate(NEAR, -1, 1),
        candidate(NEAR, -2, 1),
        candidate(TRUTH, -0.5, 1),
        candidate(TRUTH, -24, 10),
    ]
    assert score.vote(answers)[0].tolist() == TRUTH.tolist()
    assert score.score_test(answers, TRUTH)["vote_1"] == 1


def test_a_full_tie_goes_to_the_earlier_view_whatever_the_order_of_the_sums() -> None:
    rates = [-0.1, -0.2, -0.3]
    assert sum(rates) != sum(reversed(rates))
    first = [candidate(FAR, rate, 1) for rate in rates]
    second = [candidate(TRUTH, rate, 1) for rate in reversed(rates)]
    woven = [answer for pair in zip(first, second, strict=True) for answer in pair]
    swapped = [answer for pair in zip(second, first, strict=True) for answer in pair]
    assert score.score_test(woven, TRUTH)["vote_1"] == 0
    assert score.score_test(woven, TRUTH)["vote_2"] == 1
    assert score.score_test(swapped, TRUTH)["vote_1"] == 1


def test_grids_of_the_same_cells_in_other_shapes_do_not_vote_together() -> None:
    answers = [candidate(FLAT), candidate(NEAR), candidate(TRUTH), candidate(TRUTH)]
    assert [grid.shape for grid in score.vote(answers)] == [(2, 3), (1, 6), (2, 3)]
    assert score.score_test(answers, TRUTH)["vote_1"] == 1


def test_equal_grids_vote_together_whatever_their_memory_layout() -> None:
    answers = [candidate(NEAR), candidate(TRUTH.T.copy().T), candidate(TRUTH)]
    assert len(score.vote(answers)) == 2
    assert score.score_test(answers, TRUTH)["vote_1"] == 1


def test_a_task_with_one_of_two_tests_solved_scores_a_half() -> None:
    solved = score.score_test([candidate(TRUTH)], TRUTH)
    missed = score.score_test([], TRUTH)
    task = score.mean([solved, missed])
    assert set(task.values()) == {0.5}
    assert score.mean([task, solved, solved, solved])["vote_2"] == 0.875


answer_lists = st.lists(
    st.builds(
        Candidate,
        st.sampled_from([None, TRUTH, NEAR, FAR, TURNED, FLAT]),
        st.floats(-50, 0),
        st.integers(1, 40),
    ),
    max_size=8,
)


@given(answer_lists)
def test_the_metrics_are_in_order(answers: list[Candidate]) -> None:
    found = score.score_test(answers, TRUTH)
    assert 0 <= found["accuracy"] <= found["correct_pixels"] <= found["correct_size"]
    assert found["correct_size"] + found["unanswered"] <= 1
    assert found["correct_pixels"] <= found["max_correct_pixels"] <= found["any_correct_size"]
    assert found["vote_1"] <= found["vote_2"] <= found["pass_n"]
    assert (found["accuracy"] > 0) == (found["pass_n"] == 1)


PROMPTS = [
    PromptLoss("a", 6.0, 2),
    PromptLoss("b", 4.0, 4),
    PromptLoss("b", 2.0, 10),
]


def test_the_losses_of_three_prompts() -> None:
    found = score.losses(PROMPTS)
    assert found.per_token == pytest.approx(12 / 16)
    assert found.per_prompt == pytest.approx((3 + 1 + 0.2) / 3)
    assert found.per_task == pytest.approx((3 + 6 / 14) / 2)
    assert found.tasks == {"a": 3, "b": pytest.approx(6 / 14)}


@given(
    st.lists(
        st.builds(PromptLoss, st.sampled_from("abc"), st.floats(0, 1e3), st.integers(1, 900)),
        min_size=1,
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_of_the_prompts_does_not_change_a_loss(
    prompts: list[PromptLoss], dice: random.Random
) -> None:
    shuffled = dice.sample(prompts, len(prompts))
    assert score.losses(shuffled) == score.losses(prompts)


def test_the_three_losses_agree_on_prompts_of_one_length() -> None:
    found = score.losses(
        [PromptLoss(task, nll, 8) for task, nll in zip("abc", (1, 2, 6), strict=True)]
    )
    assert math.isclose(found.per_token, found.per_prompt)
    assert math.isclose(found.per_token, found.per_task)
