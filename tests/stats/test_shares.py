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
