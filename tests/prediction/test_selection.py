import math
import random
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcmix.config import params
from arcmix.prediction.selection import RULES, Candidate, Choice, choices, ranked
from tests.answers import FAR, FLAT, NEAR, TRUTH, TURNED, UNASKED, candidate, candidates

each_rule = pytest.mark.parametrize("rule", RULES)


def shown(found: list[Choice]) -> list[list[list[int]]]:
    return [choice.grid.tolist() for choice in found]


def order(rule: str, answers: list[Candidate], scores: dict[int, float] | None = None) -> list:
    return shown(ranked(rule, answers, scores or {}))


def test_the_rules_are_the_values_that_params_allows() -> None:
    assert [*RULES] == [*get_args(params.Selection)]


@each_rule
@pytest.mark.parametrize("answers", [[], [UNASKED], [candidate(None), UNASKED]])
def test_candidates_without_a_grid_are_not_ranked(rule: str, answers: list[Candidate]) -> None:
    assert ranked(rule, answers, {}) == []


@given(st.sampled_from(list(RULES)), candidates, st.dictionaries(st.integers(0, 4), st.floats(-9)))
def test_a_rule_ranks_each_distinct_grid_once(
    rule: str, answers: list[Candidate], scores: dict[int, float]
) -> None:
    found = ranked(rule, answers, scores)
    given_ = {(one.grid.shape, one.grid.tobytes()) for one in answers if one.grid is not None}
    assert {(one.grid.shape, one.grid.tobytes()) for one in found} == given_
    assert len(found) == len(given_)
    assert sum(len(one.votes) for one in found) == sum(one.grid is not None for one in answers)


def test_more_votes_win_over_more_confidence() -> None:
    answers = [candidate(TRUTH, -0.1), candidate(NEAR, -8), candidate(NEAR, -9)]
    for rule in ("vote_count", "vote_logprob"):
        assert order(rule, answers) == [NEAR.tolist(), TRUTH.tolist()]


def test_with_equal_votes_the_mean_log_probability_per_token_decides() -> None:
    # Per token, NEAR has -1 and -2, mean -1.5; TRUTH has -0.5 and -2.4, mean -1.45. Sums, pooled
    # tokens or the first view alone would give another order or a tie.
    answers = [
        candidate(NEAR, -1, 1),
        candidate(NEAR, -2, 1),
        candidate(TRUTH, -0.5, 1),
        candidate(TRUTH, -24, 10),
    ]
    assert order("vote_logprob", answers)[0] == TRUTH.tolist()
    assert order("vote_count", answers)[0] == NEAR.tolist()


def test_rule_best_ranks_by_the_most_probable_candidate() -> None:
    answers = [
        candidate(NEAR, -3.0),
        candidate(NEAR, -3.0),
        candidate(FAR, -2.0, 2),
        candidate(TRUTH, -9.0),
        candidate(TRUTH, -1.5, 1),
    ]
    assert order("best", answers) == [TRUTH.tolist(), FAR.tolist(), NEAR.tolist()]


def test_the_product_ranks_by_scores_and_then_by_votes() -> None:
    answers = [
        candidate(NEAR),
        candidate(FAR, -1.0),
        candidate(FAR, -1.0),
        candidate(TRUTH),
        candidate(TURNED, -8.0),
        candidate(FLAT, -2.0),
    ]
    # Grids 0 and 2, NEAR and TRUTH, have scores. FAR has two votes, and FLAT is more confident than
    # TURNED.
    expected = [TRUTH, NEAR, FAR, FLAT, TURNED]
    scores = {0: -7.0, 2: -6.0}
    assert order("product", answers, scores) == [grid.tolist() for grid in expected]


@given(candidates)
def test_the_product_without_scores_is_vote_logprob(answers: list[Candidate]) -> None:
    assert order("product", answers) == order("vote_logprob", answers)


@given(candidates, st.sampled_from(["vote_count", "vote_logprob"]))
def test_a_majority_of_votes_wins_over_every_other_grid(
    answers: list[Candidate], rule: str
) -> None:
    agreeing = [candidate(TRUTH, -40.0, 1)] * (len(answers) + 1)
    others = [one for one in answers if one.grid is None or not np.array_equal(one.grid, TRUTH)]
    assert order(rule, [*others, *agreeing])[0] == TRUTH.tolist()


@given(candidates, st.randoms(use_true_random=False), st.sampled_from(["vote_logprob", "best"]))
def test_the_order_of_the_candidates_matters_only_in_full_ties(
    answers: list[Candidate], dice: random.Random, rule: str
) -> None:
    shuffled = dice.sample(answers, len(answers))
    ranks = ranked(rule, answers, {}), ranked(rule, shuffled, {})
    keys = [[RULES[rule](one, {}) for one in found] for found in ranks]
    assert keys[0] == keys[1]
    if len({*keys[0]}) == len(keys[0]):
        assert shown(ranks[0]) == shown(ranks[1])


@each_rule
def test_a_full_tie_goes_to_the_grid_that_came_first(rule: str) -> None:
    rates = [-0.1, -0.2, -0.3]
    assert sum(rates) != sum(reversed(rates))
    first = [candidate(FAR, rate, 1) for rate in rates]
    second = [candidate(TRUTH, rate, 1) for rate in reversed(rates)]
    mixed = [answer for pair in zip(first, second, strict=True) for answer in pair]
    scores = {0: -2.5, 1: -2.5}
    assert order(rule, mixed, scores) == [FAR.tolist(), TRUTH.tolist()]
    swapped = [answer for pair in zip(second, first, strict=True) for answer in pair]
    assert order(rule, swapped, scores) == [TRUTH.tolist(), FAR.tolist()]


def test_the_same_cells_in_another_shape_are_another_grid() -> None:
    answers = [candidate(FLAT), candidate(NEAR), candidate(TRUTH), candidate(TRUTH)]
    found = ranked("vote_count", answers, {})
    assert [choice.grid.shape for choice in found] == [(2, 3), (1, 6), (2, 3)]


def test_equal_grids_vote_together_in_any_memory_layout() -> None:
    answers = [candidate(NEAR), candidate(TRUTH.T.copy().T), candidate(TRUTH)]
    found = choices(answers)
    assert [(one.number, len(one.votes)) for one in found] == [(0, 1), (1, 2)]
    assert math.isclose(found[1].confidence, -0.25)
