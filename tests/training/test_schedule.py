import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arcmix.training import schedule
from tests.training.test_trainer import settings

TOTAL = 40


def rates(**changes):
    """Return the learning rate before each step and after the last one, with a peak of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = schedule.scheduler(optimizer, settings(**changes), TOTAL)
    found = scheduler.get_last_lr()
    for _ in range(TOTAL):
        optimizer.step()
        scheduler.step()
        found += scheduler.get_last_lr()
    return found


@pytest.mark.parametrize("name", ["linear", "constant", "cosine", "cosine_with_restarts", "cyclic"])
def test_the_rate_rises_in_the_warmup_to_the_peak(name):
    found = rates(schedule=name, warmup=0.25, cycles=1)
    assert found[:11] == sorted(found[:11])
    assert found[0] < 0.02
    assert found[10] == pytest.approx(1.0)
    assert max(found) == found[10]


@pytest.mark.parametrize(
    ("name", "middle", "end"),
    [("linear", 0.5, 0.0), ("constant", 1.0, 1.0), ("cosine", 0.5, 0.0), ("cyclic", 0.505, 0.01)],
)
def test_the_rate_decays_as_the_name_of_the_schedule_says(name, middle, end):
    found = rates(schedule=name, warmup=0.0)
    assert found[20] == pytest.approx(middle)
    assert found[40] == pytest.approx(end)


def test_each_restart_returns_to_the_peak():
    found = rates(schedule="cosine_with_restarts", cycles=4, warmup=0.0)
    assert [step for step in range(TOTAL) if found[step] == pytest.approx(1.0)] == [0, 10, 20, 30]
    assert found[40] == pytest.approx(0.0)


def test_each_cycle_has_a_lower_peak_and_no_rate_is_zero():
    found = rates(schedule="cyclic", cycles=4, warmup=0.5)
    assert [found[step] for step in (5, 15, 25, 35)] == pytest.approx(
        [schedule.FLOOR + (1 - schedule.FLOOR) * peak for peak in (1, 0.75, 0.5, 0.25)]
    )
    assert min(found) == pytest.approx(schedule.FLOOR)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 60), st.integers(1, 5))
def test_a_budget_of_tokens_takes_the_fewest_steps_that_reach_it(counts, budget, batch):
    how = settings(unit="answer_tokens", budget=budget, batch=batch)
    taken = schedule.samples(how, counts)
    stream = [counts[number % len(counts)] for number in range(taken)]
    assert taken % batch == 0
    assert sum(stream) >= budget > sum(stream[:-batch])


def test_budgets_of_steps_and_of_samples_are_whole_batches():
    assert schedule.samples(settings(unit="steps", budget=6), [1]) == 24
    assert schedule.samples(settings(unit="samples", budget=6), [1]) == 8
