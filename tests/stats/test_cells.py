import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from arcmix.stats import cells, differences


def layout(count: int, seeds: int, tasks: int) -> np.ndarray:
    """Return values of random cells, (cells, seeds, tasks)."""
    random = np.random.default_rng([count, seeds, tasks])
    return (
        random.standard_normal((count, 1, 1))
        + 0.5 * random.standard_normal((count, seeds, 1))
        + random.standard_normal((count, 1, tasks))
        + random.standard_normal((count, seeds, tasks))
    )


@pytest.mark.parametrize("weights", [[-1.0, 1.0], [2.0, -2.0]])
def test_the_contrast_of_two_cells_is_their_difference(weights: list[float]) -> None:
    values = layout(2, 4, 30)
    found = cells.cells(values).contrast(np.array(weights))
    (expected,) = differences.differences([weights[1] * (values[1] - values[0])])
    assert found.mean == pytest.approx(expected.mean)
    assert found.half_width() == pytest.approx(expected.half_width())
    assert (found.seeds, found.tasks, found.degrees) == (4, 30, 3)


@given(st.integers(2, 4), st.integers(2, 4), st.integers(3, 9))
def test_what_all_cells_have_in_common_does_not_matter(count: int, seeds: int, tasks: int) -> None:
    values = layout(count, seeds, tasks)
    weights = np.arange(count) - (count - 1) / 2
    common = np.random.default_rng(0).standard_normal((1, seeds, tasks))
    plain, other = (cells.cells(one).contrast(weights) for one in (values, values + 9 * common))
    assert other.mean == pytest.approx(plain.mean, abs=1e-9)
    assert other.half_width() == pytest.approx(plain.half_width())


def test_all_cells_say_how_much_the_seeds_do() -> None:
    runs = np.random.default_rng(0).standard_normal((4, 3))
    values = np.tile(runs[:, :, None], 50)
    found = cells.cells(values)
    apart = runs - runs.mean(axis=0)
    squares = ((apart - apart.mean(axis=1, keepdims=True)) ** 2).sum() / 6
    assert (found.degrees, found.of_seeds) == (6, pytest.approx(squares))
    contrast = found.contrast(np.array([-1.0, 0, 0, 1]))
    assert contrast.half_width() == pytest.approx(stats.t.ppf(0.975, 6) * np.sqrt(2 * squares / 3))


def test_tasks_may_differ_more_in_one_cell_than_in_another() -> None:
    tasks = np.random.default_rng(0).standard_normal(25)
    values = np.stack([0 * tasks, tasks, 3 * tasks])[:, None].repeat(2, axis=1)
    found = cells.cells(values)
    for weights, factor in (([-1.0, 1, 0], 1), ([0.0, -1, 1], 2), ([-1.0, 0, 1], 3)):
        half = found.contrast(np.array(weights)).half_width()
        assert half == pytest.approx(stats.t.ppf(0.975, 24) * factor * tasks.std(ddof=1) / 5)


@pytest.mark.parametrize(("seeds", "tasks"), [(3, 24), (5, 60)])
@pytest.mark.parametrize("of_seeds", [0.1, 1.0])
def test_intervals_cover_as_often_as_they_say(seeds: int, tasks: int, of_seeds: float) -> None:
    random = np.random.default_rng(0)
    studies = 300
    weights = np.array([-0.5, -0.5, 0.5, 0.5])
    covered = []
    for _ in range(studies):
        slopes = 1 + random.standard_normal(tasks)
        values = (
            9 * random.standard_normal((1, 1, tasks))
            + np.array([0, 0, 1, 1])[:, None, None] * slopes
            + random.standard_normal((1, seeds, 1))
            + of_seeds * random.standard_normal((4, seeds, 1))
            + random.standard_normal((4, seeds, tasks))
        )
        found = cells.cells(values).contrast(weights)
        covered.append(abs(found.mean - 1) <= found.half_width())
    # Four standard deviations of the simulation below 93 %.
    assert np.mean(covered) >= 0.93 - 4 * (0.065 / studies) ** 0.5


@pytest.mark.parametrize("shape", [(1, 3, 9), (2, 1, 9), (2, 3, 2), (2, 0, 0)])
def test_too_few_values_are_refused(shape: tuple[int, int, int]) -> None:
    count, seeds, tasks = shape
    with pytest.raises(ValueError, match=f"{count} cells of {seeds} seeds and {tasks} tasks"):
        cells.cells(np.zeros(shape))
    with pytest.raises(ValueError, match="with 17 of 18 values finite"):
        cells.cells(np.array([*[1.0] * 17, np.nan]).reshape(2, 3, 3))
