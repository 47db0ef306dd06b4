import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from arcmix.stats import differences
from benchmarks import coverage
from benchmarks.coverage import Setting


def layout(seeds: int, tasks: int, of_seeds: float, mean: float = 0.0) -> np.ndarray:
    """Return differences with effects of seeds and tasks and a rest, (seeds, tasks)."""
    random = np.random.default_rng([seeds, tasks])
    return (
        mean
        + of_seeds * random.standard_normal((seeds, 1))
        + random.standard_normal((1, tasks))
        + random.standard_normal((seeds, tasks))
    )


def test_the_mean_is_that_of_all_values_and_the_variances_are_those_of_the_two_way_layout() -> None:
    values = layout(4, 30, of_seeds=2.0)
    (found,) = differences.differences([values])
    by_seed, by_task, mean = values.mean(axis=1), values.mean(axis=0), values.mean()
    squares = ((values - by_seed[:, None] - by_task + mean) ** 2).sum() / (3 * 29)
    assert found.mean == pytest.approx(mean)
    assert (found.seeds, found.tasks, found.degrees) == (4, 30, 3)
    assert found.rest == pytest.approx(squares)
    assert found.of_seeds == pytest.approx(by_seed.var(ddof=1) - squares / 30)
    assert found.of_tasks == pytest.approx(by_task.var(ddof=1) - squares / 4)


def test_without_effects_of_seeds_the_interval_is_that_of_student_over_tasks() -> None:
    of_tasks = np.random.default_rng(0).standard_normal(25)
    (found,) = differences.differences([np.stack([of_tasks, of_tasks, of_tasks])])
    expected = stats.t.ppf(0.975, 24) * of_tasks.std(ddof=1) / 5
    assert found.half_width() == pytest.approx(expected)
    _, p_value = stats.ttest_1samp(of_tasks, 0)
    assert found.p_value() == pytest.approx(p_value, rel=1e-6)


def test_with_effects_of_seeds_alone_the_interval_is_that_of_student_over_seeds() -> None:
    of_seeds = np.random.default_rng(0).standard_normal(5)
    (found,) = differences.differences([np.tile(of_seeds[:, None], 40)])
    assert found.half_width() == pytest.approx(
        stats.t.ppf(0.975, 4) * of_seeds.std(ddof=1) / np.sqrt(5)
    )


def test_experiments_share_the_variance_of_the_seeds() -> None:
    quiet, loud = (layout(3, 50, of_seeds) for of_seeds in (0.0, 5.0))
    alone = differences.differences([loud])[0]
    together = differences.differences([quiet, loud, layout(1, 50, 0.0)])
    assert {one.of_seeds for one in together} == {together[0].of_seeds}
    assert 0 < together[0].of_seeds < alone.of_seeds
    assert together[0].degrees == pytest.approx(4 / 1.25)


@given(st.integers(2, 5), st.integers(2, 30), st.floats(-3, 3), st.integers(0, 1000))
def test_a_p_value_is_the_level_whose_interval_ends_at_zero(
    seeds: int, tasks: int, mean: float, seed: int
) -> None:
    values = mean + np.random.default_rng(seed).standard_normal((seeds, tasks))
    (found,) = differences.differences([values])
    p_value = found.p_value()
    assert 0 <= p_value <= 1
    if 1e-9 < p_value < 1:
        assert found.half_width(p_value) == pytest.approx(abs(found.mean), rel=1e-4)


def test_equal_experiments_differ_by_nothing_with_certainty() -> None:
    (found,) = differences.differences([np.zeros((2, 3))])
    assert (found.mean, found.half_width(), found.p_value()) == (0, 0, 1)
    (found,) = differences.differences([np.ones((2, 3))])
    assert (found.mean, found.half_width(), found.p_value()) == (1, 0, 0)


def test_the_seeds_that_are_needed_are_the_fewest_that_find_the_difference() -> None:
    (found,) = differences.differences([layout(3, 400, of_seeds=3.0, mean=0.5)])
    needed = found.seeds_needed()
    assert needed is not None
    assert needed > 3
    widths = [found.half_width(seeds=seeds) for seeds in (needed - 1, needed)]
    assert widths[0] >= abs(found.mean) > widths[1]
    assert found.detectable() > found.half_width()
    (few,) = differences.differences([layout(3, 4, of_seeds=0.0) - 0.01])
    assert few.seeds_needed() is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([np.zeros((1, 5))], "each experiment has 1 seed; the variance of the seeds needs 2 seeds"),
        ([np.zeros((0, 5))], "0 seeds and 5 tasks"),
        ([np.zeros((3, 1))], "3 seeds and 1 tasks"),
        ([np.full((2, 2), np.nan)], "of which 0 are finite"),
    ],
)
def test_too_few_values_are_refused(values: list[np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        differences.differences(values)


def test_p_values_are_adjusted_as_in_the_example_of_holm() -> None:
    assert differences.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert differences.holm([0.6, 0.7]) == [1.0, 1.0]
    assert differences.holm([]) == []


@pytest.mark.parametrize("ratio", [0.0, 1.0, 3.0])
@pytest.mark.parametrize(
    ("count", "seeds", "tasks", "unequal"),
    [(1, 3, 24, "equal"), (10, 3, 24, "equal"), (10, 5, 60, "equal"), (10, 3, 24, "spread")],
)
def test_intervals_cover_and_tables_are_right_as_often_as_they_say(
    count: int, seeds: int, tasks: int, unequal: str, ratio: float
) -> None:
    studies = 2000
    setting = Setting(count, seeds, tasks, ratio, heavy=True, unequal=unequal)
    rates = coverage.rates(studies, setting)
    # Four standard deviations of the simulation, beyond what is asked of the method. Quantiles of
    # the normal distribution in place of Student's fail in half of these settings.
    assert 0.93 - 4 * (0.06 / studies / count) ** 0.5 <= rates.covered
    assert rates.covered <= 0.97 + 4 * (0.03 / studies / count) ** 0.5
    assert rates.wrong <= 0.05 + 4 * (0.05 / studies) ** 0.5
    assert rates.found >= 0.6
