import numpy as np
import pytest
from scipy import stats

from arcmix.stats import shares


@pytest.mark.parametrize(("solved", "number"), [(0, 24), (24, 24), (1, 24), (37, 100), (200, 400)])
def test_it_is_the_interval_of_wilson(solved: int, number: int) -> None:
    expected = stats.binomtest(solved, number).proportion_ci(method="wilson")
    assert shares.interval(solved / number, number) == pytest.approx(tuple(expected), abs=1e-12)


def test_an_interval_at_the_ends_has_a_width_and_contains_its_share() -> None:
    low, high = shares.interval(0.0, 24)
    assert low == 0
    assert high == pytest.approx(0.1380, abs=1e-4)
    assert shares.interval(1.0, 24) == pytest.approx((1 - high, 1))


def test_a_lower_level_gives_a_wider_interval() -> None:
    low, high = shares.interval(0.3, 50)
    wider = shares.interval(0.3, 50, level=0.01)
    assert wider[0] < low < 0.3 < high < wider[1]


def test_the_difference_of_equal_pairs_has_a_width_and_is_symmetric() -> None:
    none = np.zeros(24)
    assert shares.difference(none, none) == pytest.approx((-0.1380, 0.1380), abs=1e-4)
    assert shares.difference(none + 1, none)[1] == 1


@pytest.mark.parametrize("number", [24, 100])
@pytest.mark.parametrize(("first", "second"), [(0.02, 0.02), (0.1, 0.05), (0.3, 0.2), (0.5, 0.4)])
def test_the_interval_of_a_difference_covers_it(number: int, first: float, second: float) -> None:
    random = np.random.default_rng(0)
    covered = []
    for _ in range(1000):
        draws = random.random(number)
        others = np.where(random.random(number) < 0.5, draws, random.random(number))
        low, high = shares.difference(
            (draws < first).astype(float), (others < second).astype(float)
        )
        covered.append(low <= first - second <= high)
    # An interval of 95 %, by 3 standard errors of 1000 studies, and what 24 pairs take off.
    assert np.mean(covered) >= 0.95 - 3 * (0.95 * 0.05 / 1000) ** 0.5 - 0.3 / number


def test_pairs_that_agree_have_a_narrower_difference() -> None:
    random = np.random.default_rng(1)
    first = (random.random(100) < 0.4).astype(float)
    low, high = shares.difference(first, first)
    shuffled = shares.difference(first, random.permutation(first))
    assert shuffled[0] < low < 0 < high < shuffled[1]
