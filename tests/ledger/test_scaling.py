import numpy as np
import pytest

from arcmix.ledger import scaling
from arcmix.ledger.records import Row
from tests.ledger.subset_rows import subset_row

SIZES = (70, 140, 350, 700)


def runs(law, *, seeds: int = 3, tasks: int = 40, noise: float = 0.01, sizes=SIZES) -> list[Row]:
    """Return runs whose losses follow a law of the number of training tasks."""
    random = np.random.default_rng(0)
    level = random.random(tasks)
    return [
        subset_row(
            size,
            seed,
            per_cell=(law(size) + level + noise * random.standard_normal(tasks)).tolist(),
        )
        for size in sizes
        for seed in range(seeds)
    ]


def law(size: float) -> float:
    return 0.3 + 3 * size**-0.5


def test_a_fall_is_fitted_and_told() -> None:
    (found,) = scaling.scalings(runs(law))
    assert found.label == "new-train, smollm2-135m at quick"
    assert found.fit is not None
    assert found.trend is not None
    remaining = found.fit.remaining
    assert remaining is not None
    further = found.fit.fall(1400)
    assert found.text == (
        f"falls by {-found.trend.mean:.3f} ± {found.trend.half_width():.3f} with each doubling of"
        " the tasks, from 70 to 700; it would fall by another"
        f" {further.value:.3f} ({further.low:.3f} to {further.high:.3f}) with 1400 tasks and"
        f" {found.fit.fall(2800).value:.3f} ({found.fit.fall(2800).low:.3f} to"
        f" {found.fit.fall(2800).high:.3f}) with 2800 tasks; the floor is"
        f" {remaining.value:.3f} ({remaining.low:.3f} to"
        f" {remaining.high:.3f}) below the last loss, with an exponent of"
        f" {found.fit.exponent.value:.2f} ({found.fit.exponent.low:.2f} to"
        f" {found.fit.exponent.high:.2f})"
    )
    assert further.low <= law(700) - law(1400) <= further.high


def test_points_and_curve_are_ready_for_a_figure() -> None:
    rows = runs(law)
    (found,) = scaling.scalings(rows)
    assert [point.tasks for point in found.points] == [*SIZES]
    own = [row.metrics["answering_loss_per_cell"] for row in rows[:3]]
    assert found.points[0].runs == pytest.approx(own)
    assert found.points[0].mean == pytest.approx(np.mean(own))
    assert found.points[0].low < found.points[0].mean < found.points[0].high
    assert found.points[-1].low == found.points[-1].mean == found.points[-1].high
    assert (found.curve[0].tasks, found.curve[-1].tasks) == (70, 2800)
    assert all(point.low <= point.mean <= point.high for point in found.curve)
    means = [point.mean for point in found.curve]
    assert means == sorted(means, reverse=True)
    (last,) = [point for point in found.curve if point.tasks == 700]
    assert last.mean == pytest.approx(found.points[-1].mean, abs=0.01)


def test_losses_that_do_not_fall_predict_nothing() -> None:
    (flat,) = scaling.scalings(runs(lambda _: 0.5))
    assert flat.text.startswith("cannot tell: ")
    assert "would have shown; no prediction: the loss does not clearly fall" in flat.text
    (rising,) = scaling.scalings(runs(lambda size: size / 700))
    assert rising.text.startswith("rises by ")
    assert rising.text.endswith("no prediction: the loss does not clearly fall")
    assert (flat.fit, flat.curve) == (None, ())
    assert len(flat.points) == 4


def test_losses_of_another_law_predict_nothing() -> None:
    (found,) = scaling.scalings(runs(lambda size: {70: 0.9, 140: 0.5, 350: 0.5}.get(size, 0.6)))
    assert "no prediction: the losses do not follow a saturating power law (p = " in found.text


def test_a_prediction_that_is_less_certain_than_the_fall_is_not_made() -> None:
    close = (350, 500, 700)
    (found,) = scaling.scalings(runs(lambda size: 1 - 0.02 * np.log2(size), sizes=close))
    assert found.text.startswith("falls by ")
    assert "which is less certain than the " in found.text
    assert found.fit is None


def test_two_sizes_have_a_trend_and_no_law() -> None:
    (found,) = scaling.scalings(runs(law, sizes=(350, 700)))
    assert found.trend is not None
    assert found.trend.mean == pytest.approx(law(700) - law(350), abs=0.01)
    assert "no prediction: the numbers of training tasks are [350, 700]; the law has" in found.text
    assert len(found.points) == 2


def test_too_few_seeds_or_tasks_tell_nothing() -> None:
    (one,) = scaling.scalings(runs(law, seeds=1))
    assert one.text == (
        "cannot tell: 4 cells of 1 seeds and 40 tasks, with 160 of 160 values finite; a"
        " comparison needs 2 cells, 2 seeds, 3 tasks and finite values, so run more of them"
    )
    assert (one.points, one.trend, one.fit) == ((), None, None)
    (few,) = scaling.scalings(runs(law, tasks=2))
    assert few.text.startswith("cannot tell: 4 cells of 3 seeds and 2 tasks")


def test_a_size_with_one_seed_does_not_count() -> None:
    rows = runs(law)
    (whole,) = scaling.scalings(rows)
    (found,) = scaling.scalings([*rows, subset_row(35, per_cell=[9.0] * 40)])
    assert found.text == whole.text
    assert [point.tasks for point in found.points] == [*SIZES]
    assert found.scores["accuracy"][0].tasks == 35


def test_a_score_has_points_with_intervals_of_shares_also_where_all_are_0() -> None:
    rows = [
        subset_row(size, seed, per_cell=[0.5] * 24, accuracy=0.0 if size < 700 else 0.25)
        for size in SIZES
        for seed in (0, 1)
    ]
    (found,) = scaling.scalings(rows)
    assert set(found.scores) == {"accuracy", "pass_n", "selected_2"}
    none, some = found.scores["accuracy"][0], found.scores["accuracy"][-1]
    assert (none.tasks, none.mean, none.low, none.runs) == (70, 0.0, 0.0, (0.0, 0.0))
    assert none.high == pytest.approx(0.138, abs=1e-3)
    assert some.mean == 0.25
    assert some.low == pytest.approx(0.120, abs=1e-3)
    assert "do not vary over seeds and validation tasks" in found.text
