import pytest

from benchmarks import score


def test_scores_in_float32_are_the_same():
    score.check("float32", [0, 0], [0.0001, 0.002])
    with pytest.raises(ValueError, match=r"difference in float32 .* is 0.03000 nats per token"):
        score.check("float32", [0, 0], [0.0001, 0.03])


def test_scores_in_bfloat16_are_as_exact_as_those_of_the_baseline():
    score.check("bfloat16", [0.1, 0.1], [0.29, 0.29])
    with pytest.raises(ValueError, match=r"error in bfloat16 .* is 0.50000 .* at most 0.30000"):
        score.check("bfloat16", [0.1, 0.1], [0.1, 0.7])


def test_a_single_wrong_candidate_of_many_is_found():
    with pytest.raises(ValueError, match="error in bfloat16"):
        score.check("bfloat16", [0.01] * 300, [0.01] * 299 + [1])


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="is nan"):
        score.check("bfloat16", [0.1], [float("nan")])
