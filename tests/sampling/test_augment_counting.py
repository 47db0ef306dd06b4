"""Samples of grids with questions, drawn together with samples of tasks."""

import numpy as np
import pytest

from arcmix import transforms
from arcmix.sampling import augment, sample_table
from arcmix.sources import counting
from tests.sampling.test_augment import ENTRIES, make, new_tasks, pairs
from tests.sources.test_counting import source

GRIDS = [*ENTRIES, *counting.load("count", source(tasks=3)).tasks]


def counted(first=0, count=600, **changes):
    how = make(symmetries=8, **changes)
    return augment.draw(augment.pool(GRIDS), np.arange(len(GRIDS)), how, 0, first, count)


def kinds(samples):
    return np.split(samples.questions, np.cumsum(samples.asked)[:-1])


@pytest.mark.parametrize("swap", [False, True, "exchange"])
def test_a_grid_to_count_in_has_every_question_once_and_a_task_has_none(swap):
    samples = counted(swap=swap)
    for entry, asked in zip(samples.entries, kinds(samples), strict=True):
        assert sorted(asked) == ([*range(5)] if GRIDS[entry].train == () else [])


def test_samples_have_different_orders_of_questions():
    samples = counted(count=2100)
    orders = [tuple(asked) for asked in kinds(samples) if len(asked)]
    # 900 draws of 120 orders; a twentieth of them is 15 of one kind before another.
    assert len({*orders}) > 110
    first = np.bincount([order[0] for order in orders], minlength=5) / len(orders)
    np.testing.assert_allclose(first, 0.2, atol=0.05)


def test_the_questions_depend_only_on_the_number_of_the_sample():
    whole, part = counted(), counted(first=250, count=50)
    assert [asked.tolist() for asked in kinds(whole)[250:300]] == [
        asked.tolist() for asked in kinds(part)
    ]


def test_the_output_of_an_augmented_grid_to_count_in_equals_its_input(tmp_path):
    samples = counted(color_swaps=1, background=1.0, swap=True)
    for row, pairs_ in enumerate(pairs(samples, tmp_path)):
        entry = GRIDS[samples.entries[row]]
        if entry.train == ():
            [shown] = pairs_
            view = transforms.Transform(
                int(samples.symmetries[row]), tuple(samples.colors[row].tolist())
            )
            np.testing.assert_array_equal(shown.input, view.apply(entry.test[0].input))
            np.testing.assert_array_equal(shown.output, shown.input)


def test_a_grid_to_count_in_never_becomes_a_new_task_and_is_not_shortened():
    samples = counted(new_tasks=new_tasks(1.0), swap=True)
    assert {GRIDS[samples.entries[row]].train == () for row in samples.new_tasks} == {False}
    short = sample_table.shorten(samples, lambda one: one.grids.tolist(), 0)
    tasks_ = samples.asked == 0
    assert {*short.grids[~tasks_]} == {2}
    assert {*short.grids[tasks_]} == {4}
    assert sample_table.questions(short) == sample_table.questions(samples)
