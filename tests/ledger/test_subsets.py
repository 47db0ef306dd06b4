from dataclasses import replace

import numpy as np
import pytest

from arcmix.ledger import subsets
from tests.ledger.subset_rows import subset_row
from tests.rows import row, sealed


def test_runs_that_differ_in_the_subset_alone_are_a_design() -> None:
    rows = [subset_row(tasks, seed) for seed in (1, 0) for tasks in (700, 70, 140)]
    (found,) = subsets.designs(rows)
    assert found.label == "new-train, smollm2-135m at quick"
    assert [(cell.tasks, cell.amount) for cell in found.cells] == [
        (70, "all"),
        (140, "all"),
        (700, "all"),
    ]
    assert [[one.seed for one in cell.rows] for cell in found.cells] == [[0, 1]] * 3


@pytest.mark.parametrize(
    "other",
    [
        {"code": "0fe000000000"},
        {"settings": 1},
        {"variant": 1},
        {"model": "tiny"},
        {"start": "re-arc/0-0123456789ab"},
        {"table": "re-arc"},
        {"changes": {"weight": 2}},
        {"changes": {"examples": 2}},
        {"beside": ("mini-arc",)},
    ],
)
def test_runs_that_differ_in_more_are_not_in_one_design(other: dict) -> None:
    assert subsets.designs([subset_row(70), subset_row(700, **other)]) == []


def test_runs_without_training_and_of_one_size_are_no_design() -> None:
    untrained = subset_row(700, steps=0)
    assert untrained.history[-1]["step"] == 0
    assert subsets.designs([subset_row(70), untrained, subset_row(70, 1)]) == []
    assert subsets.designs([]) == []


def test_a_dataset_of_two_components_has_the_design_of_the_one_that_varies() -> None:
    rows = [subset_row(tasks, beside=("mini-arc",)) for tasks in (70, 140)]
    (found,) = subsets.designs(rows)
    assert found.label == "new-train (beside mini-arc), smollm2-135m at quick"
    assert [cell.tasks for cell in found.cells] == [70, 140]


def test_another_setting_may_vary_too() -> None:
    amounts = ("all", 2, 10)
    rows = [
        subset_row(tasks, changes={"examples": amount}) for amount in amounts for tasks in (70, 140)
    ]
    assert len(subsets.designs(rows)) == 3
    (found,) = subsets.designs(rows, "examples")
    assert [(cell.tasks, cell.amount) for cell in found.cells] == [
        (tasks, amount) for tasks in (70, 140) for amount in (2, 10, "all")
    ]
    assert subsets.designs(rows, "variations") == []


def test_values_are_of_the_seeds_and_tasks_that_all_cells_have() -> None:
    rows = [
        subset_row(tasks, seed, per_cell=[tasks, seed, 7])
        for tasks, seeds in ((70, (0, 1, 2)), (140, (2, 1, 5)))
        for seed in seeds
    ]
    rows[0] = replace(rows[0], tasks={})  # its seed is in one cell alone
    rows[1].tasks["00000002"]["answering_loss_per_cell"] = None
    (found,) = subsets.designs(rows)
    values = subsets.values(found.cells, "answering_loss_per_cell")
    assert values.tolist() == [[[70, 1], [70, 2]], [[140, 1], [140, 2]]]
    assert values.dtype == np.float64


def test_cells_without_common_seeds_have_no_values() -> None:
    (found,) = subsets.designs([subset_row(70, 0), subset_row(140, 1)])
    assert subsets.values(found.cells, "answering_loss_per_cell").shape == (2, 0, 0)


def test_a_share_and_a_number_are_the_same_size() -> None:
    share = subset_row(140, 0)
    share = sealed(share, components=[share.components[0] | {"subset": "20%"}])
    (found,) = subsets.designs([share, subset_row(140, 1), subset_row(700)])
    assert [len(cell.rows) for cell in found.cells] == [2, 1]
    assert row().components[0]["subset"] == "all"


def test_designs_of_one_component_are_told_apart_by_its_values() -> None:
    rows = [
        subset_row(tasks, changes={"examples": examples})
        for tasks in (70, 700)
        for examples in (1, "all")
    ]
    assert [one.label for one in subsets.designs(rows)] == [
        "new-train, smollm2-135m at quick, examples=1",
        "new-train, smollm2-135m at quick, examples=all",
    ]
    (both,) = subsets.designs(rows, "examples")
    assert both.label == "new-train, smollm2-135m at quick"
