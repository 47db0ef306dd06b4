from dataclasses import replace

import numpy as np
import pytest

from arcmix.ledger import verdicts
from arcmix.ledger.records import Row
from tests.rows import row

TASKS = 60


def runs(name: str, shift: float, seeds: int = 3, spread: float = 0.02) -> list[Row]:
    """Return the runs of an experiment whose losses differ from the baseline by about `shift`."""
    found = []
    for seed in range(seeds):
        random = np.random.default_rng([seed, *name.encode()])
        tasks = np.linspace(0.2, 1.2, TASKS) + shift + spread * random.standard_normal(TASKS)
        found.append(row(name, seed, per_cell=tasks.tolist()))
    return found


BASELINE = runs("base", 0.0)


def judged(
    *experiments: list[Row], baselines: tuple[str, ...] = ("base",)
) -> list[verdicts.Verdict]:
    names = [one[0].dataset for one in experiments]
    return verdicts.verdicts(experiments, names, baselines)


def test_experiments_are_better_or_worse_than_the_baseline() -> None:
    base, better, worse = judged(BASELINE, runs("b", -0.1), runs("w", 0.1))
    assert base == verdicts.Verdict("baseline")
    assert better.text.startswith("better by 0.10")
    assert worse.text.startswith("worse by 0.099")
    assert better.difference is not None
    assert better.difference.mean == pytest.approx(-0.1, abs=0.01)
    assert better.p_value is not None
    assert better.p_value < 0.001


def test_a_difference_that_is_not_certain_says_what_would_be() -> None:
    _, unclear = judged(BASELINE, runs("u", 0.0, spread=0.2))
    assert unclear.text.startswith("cannot tell: ")
    assert " would have shown, " in unclear.text
    assert unclear.difference is not None
    level = unclear.difference.detectable()
    assert f"a difference of {level:.3f} would have shown" in unclear.text


def test_only_common_seeds_and_tasks_are_compared() -> None:
    other = runs("o", 0.1, seeds=5)
    lacking = [
        replace(one, tasks={name: task for name, task in one.tasks.items() if name != "00000003"})
        for one in other
    ]
    lacking[0].tasks["00000001"]["answering_loss_per_cell"] = None
    _, found = judged(BASELINE, lacking)
    assert found.difference is not None
    assert (found.difference.seeds, found.difference.tasks) == (3, TASKS - 2)


def test_one_seed_needs_an_experiment_with_two() -> None:
    base, alone = judged(BASELINE, runs("a", 0.1, seeds=1))
    assert base.text == "baseline"
    assert alone.text == (
        f"cannot tell: seeds in common with the baseline: 1, tasks: {TASKS}; run both with 2 seeds"
        " or more"
    )
    assert alone.difference is None
    _, alone, other = judged(BASELINE, runs("a", 0.1, seeds=1), runs("o", 0.1))
    assert alone.text.startswith("worse by")
    assert other.text.startswith("worse by")


def test_an_experiment_without_common_seeds_is_not_compared() -> None:
    later = [replace(one, seed=one.seed + 9) for one in runs("l", 0.1)]
    _, found = judged(BASELINE, later)
    assert found.text.startswith("cannot tell: seeds in common with the baseline: 0, tasks: 0;")


def test_the_first_baseline_that_is_there_is_taken() -> None:
    texts = [one.text for one in judged(BASELINE, runs("b", -0.1), baselines=("x", "b", "base"))]
    assert texts[1] == "baseline"
    assert texts[0].startswith("worse by 0.1")
    nothing = judged(BASELINE, baselines=("x", "y"))
    assert [one.text for one in nothing] == ["no baseline: none of x, y is here"]


def test_two_experiments_with_the_name_of_the_baseline_leave_no_baseline() -> None:
    found = judged(BASELINE, BASELINE, runs("o", 0.1), baselines=("base", "o"))
    expected = (
        "no baseline: 2 lines are named base, so give each definition a name in datasets, or set"
        " ablation.baseline to another dataset"
    )
    assert [one.text for one in found] == [expected] * 3


def test_chance_alone_is_the_difference_of_one_half_of_the_seeds_from_the_other() -> None:
    values = [[0.1, 0.4], [0.3, 0.4], [0.2, 0.2], [0.2, 0.6], [9.0, 9.0]]
    rows = [row(seed=seed, per_cell=own) for seed, own in enumerate(values)]
    found = verdicts.chance(rows)
    assert found is not None
    assert found.mean == pytest.approx((0.2 + 0.0 + 0.0 + 0.4) / 4)
    assert (found.seeds, found.tasks) == (2, 2)
    assert verdicts.chance(rows[:3]) is None


def test_verdicts_are_corrected_for_their_number() -> None:
    one = runs("o", 0.004)
    alone = judged(BASELINE, one)[1]
    among = judged(BASELINE, one, *(runs(f"n{number}", 0.0) for number in range(9)))[1]
    assert alone.p_value is not None
    assert among.p_value is not None
    assert among.p_value > alone.p_value
