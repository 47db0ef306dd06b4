from pathlib import Path

import numpy as np
import pytest

from arcmix.ledger import records
from benchmarks import coverage
from benchmarks.coverage import Setting
from tests.rows import row


@pytest.mark.parametrize(
    ("unequal", "factors"),
    [("equal", [1, 1, 1, 1]), ("spread", [1, 0.4, 1, 1.6]), ("one", [1, 1, 1, 4])],
)
def test_the_variance_of_the_seeds_depends_on_the_experiment(
    unequal: str, factors: list[float]
) -> None:
    setting = Setting(3, 2, 9, 1.0, heavy=False, unequal=unequal)
    assert setting.factors == pytest.approx(factors)
    draws = [coverage.study(index, setting) for index in range(2000)]
    # Var of a difference: seeds (own + baseline) / 2, tasks 1 and rest 0.5 on each of 9 tasks.
    means = np.array([[one.mean() for one in study] for study in draws])
    seeds = 2 / 9 * (1 + np.array(factors[1:])) / 2
    assert means.var(axis=0) == pytest.approx(seeds / 2 + 1 / 9 + 0.5 / 18, rel=0.15)


def test_settings_may_be_those_of_the_tables_of_a_ledger(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    level = 9 + random.random(20)
    for number, name in enumerate(("new-train", "re-arc", "mini-arc")):
        of_tasks = number + 0.5 * random.standard_normal(20)
        for seed in range(3):
            losses = level + of_tasks + 0.2 * random.standard_normal()
            losses = losses + 0.1 * random.standard_normal(20)
            records.write(tmp_path, row(name, seed, per_cell=losses.tolist(), variant=number))
    plain, heavy = coverage.measured(tmp_path, ["new-train"])
    assert (plain.count, plain.seeds, plain.tasks) == (2, 3, 20)
    assert (plain.heavy, heavy.heavy, plain.unequal) == (False, True, "equal")
    # Variances of a difference: seeds 2 · 0.04, tasks 0.25 or 0.5, rest 2 · 0.01.
    assert 0.01 < plain.rest < 0.2
    assert 0.2 < plain.ratio < 8
    assert coverage.rates(20, plain).covered > 0.5


def test_a_ledger_without_comparisons_has_no_settings(tmp_path: Path) -> None:
    records.write(tmp_path, row("new-train", 0))
    with pytest.raises(ValueError, match="no table of 1 rows compares a dataset with a baseline"):
        coverage.measured(tmp_path, ["new-train"])
