import pytest

from arcmix.ledger import correlations
from tests.rows import row


def experiments(count: int, accuracy=lambda number: number / 100) -> list[list]:
    """Return experiments whose loss falls, and whose accuracy is a function of their number."""
    return [
        [
            row(
                f"d{number}",
                seed,
                loss=1 - number / 100 + seed / 1000,
                per_cell=[0.9 - number / 100],
                accuracy=accuracy(number),
            )
            for seed in (0, 1)
        ]
        for number in range(count)
    ]


def test_each_two_metrics_are_compared_over_experiments() -> None:
    found = correlations.correlations(experiments(12, accuracy=lambda number: number % 7 / 100))
    assert [(one.first, one.second) for one in found] == [
        ("train loss", "validation loss"),
        ("train loss", "accuracy"),
        ("validation loss", "accuracy"),
    ]
    first = found[0]
    assert first.correlation is not None
    assert (first.correlation.value, first.correlation.number) == (1, 12)
    assert first.text == "+1.00 (+1.00 to +1.00), n = 12"
    # Means over the seeds; the train loss of a row is 0.1 lower than its validation loss.
    assert first.values[3] == pytest.approx((0.97 + 0.0005 - 0.1, 0.87))
    assert found[1].text.startswith("cannot tell: -0.")
    assert found[1].text.endswith("n = 12")


def test_few_experiments_or_equal_values_tell_nothing() -> None:
    few = correlations.correlations(experiments(9))
    assert {one.text for one in few} == {
        "cannot tell: 9 pairs; a rank correlation needs 10 or more"
    }
    losses, *scores = correlations.correlations(experiments(12, accuracy=lambda _: 0.0))
    assert losses.correlation is not None
    equal = "cannot tell: all 12 values of one metric are equal; a rank correlation needs"
    assert all(one.text.startswith(equal) for one in scores)
    assert correlations.correlations([])[0].text.startswith("cannot tell: 0 pairs")


def test_a_run_without_training_has_no_train_loss() -> None:
    untrained = [row("untrained", steps=0)]
    found = correlations.correlations([untrained, *experiments(10)])
    assert [len(one.values) for one in found] == [10, 10, 11]
