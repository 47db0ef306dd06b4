import numpy as np
import pytest

from arcmix.stats import correlation


def spearman(first: np.ndarray, second: np.ndarray) -> correlation.Correlation:
    """Return the rank correlation of arrays."""
    return correlation.spearman(first.tolist(), second.tolist())


def test_the_interval_of_an_example_is_that_of_bonett_and_wright() -> None:
    first = list(range(20))
    second = [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14, 17, 16, 19, 18]
    found = correlation.spearman(first, second)
    assert found.number == 20
    # 1 - 6 · 20 · 1² / (20 · 399)
    assert found.value == pytest.approx(1 - 120 / 7980)
    half = 1.959964 * np.sqrt((1 + found.value**2 / 2) / 17)
    assert np.arctanh(found.high) - np.arctanh(found.value) == pytest.approx(half, rel=1e-6)
    assert np.arctanh(found.value) - np.arctanh(found.low) == pytest.approx(half, rel=1e-6)


def test_only_ranks_matter() -> None:
    random = np.random.default_rng(0)
    first, second = random.random(15), random.random(15)
    assert spearman(np.exp(9 * first), second) == spearman(first, second)


def test_equal_ranks_correlate_fully() -> None:
    found = correlation.spearman(range(12), [-value for value in range(12)])
    assert (found.value, found.low, found.high) == (-1, -1, -1)


def test_what_tells_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="9 pairs; a rank correlation needs 10 or more"):
        correlation.spearman(range(9), range(9))
    with pytest.raises(ValueError, match="all 12 values of one metric are equal"):
        correlation.spearman(range(12), [0.0] * 12)


@pytest.mark.parametrize("true", [0.0, 0.8])
def test_intervals_cover_as_often_as_they_say(true: float) -> None:
    random = np.random.default_rng(1)
    expected = 6 / np.pi * np.arcsin(true / 2)
    studies = 300
    covered = []
    for _ in range(studies):
        pairs = random.multivariate_normal([0, 0], [[1, true], [true, 1]], size=12)
        found = spearman(*pairs.T)
        covered.append(found.low <= expected <= found.high)
    assert np.mean(covered) >= 0.93 - 4 * (0.065 / studies) ** 0.5
