import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcmix.config.params import Component
from arcmix.sampling import augment, narrow, sample_table
from arcmix.tasks import Task
from tests.arc import component, pair, task
from tests.sampling.test_augment import make

TASKS = [task(id_, train=number % 5 + 1, test=2) for number, id_ in enumerate("abcdefghij")]


def narrowed(found, seed=0, **changes) -> list[Task]:
    return narrow.narrow(found, Component.model_validate(component("mine", **changes)), seed)


def ids(found):
    return [one.id for one in found]


def varied(id_, count):
    return [replace(task(id_), variation=number) for number in range(count)]


def test_a_component_without_restrictions_is_the_whole_table():
    assert narrowed(TASKS) == TASKS


@given(st.integers(0, 2**31), st.integers(1, 10), st.integers(1, 10))
def test_a_smaller_subset_is_part_of_a_larger_one(seed, one, other):
    less, more = (narrowed(TASKS, seed, subset=count) for count in sorted((one, other)))

    assert len(less) == min(one, other)
    assert {*ids(less)} <= {*ids(more)}
    assert ids(more) == sorted(ids(more))


@given(st.integers(0, 2**31))
def test_a_share_selects_a_number_of_tasks_and_is_nested(seed):
    less, more = (narrowed(TASKS, seed, subset=share) for share in ("10%", "20%"))

    assert (len(less), len(more)) == (1, 2)
    assert {*ids(less)} < {*ids(more)}
    assert narrowed(TASKS, seed, subset="100%") == TASKS
    assert len(narrowed(TASKS, seed, subset="0.1%")) == 1


def test_the_selection_of_a_task_does_not_depend_on_the_other_tasks():
    kept = narrowed(TASKS, subset=4)
    longer = [task("z"), *TASKS]

    assert {*ids(narrowed(longer, subset=4))} <= {*ids(kept), "z"}


def test_another_seed_selects_different_tasks():
    assert len({tuple(ids(narrowed(TASKS, seed, subset=3))) for seed in range(9)}) > 4


def test_a_selected_task_keeps_all_its_variations():
    found = varied("a", 3) + varied("b", 3)

    assert ids(narrowed(found, subset=1)) in (["a"] * 3, ["b"] * 3)


def test_variations_are_limited_for_each_task_and_nested():
    found = varied("a", 6) + varied("b", 3)

    less, more = (narrowed(found, variations=count) for count in (2, 4))

    assert ids(less) == ["a"] * 2 + ["b"] * 2
    assert ids(more) == ["a"] * 4 + ["b"] * 3
    assert {(one.id, one.variation) for one in less} < {(one.id, one.variation) for one in more}


@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 5))
def test_a_smaller_selection_of_examples_is_part_of_a_larger_one(seed, one, other):
    less, more = (narrowed(TASKS, seed, examples=count) for count in sorted((one, other)))

    for whole, few, many in zip(TASKS, less, more, strict=True):
        assert len(few.train) == min(len(whole.train), one, other)
        places = [whole.train.index(pair) for pair in many.train]
        assert places == sorted(places)
        assert {*few.train} <= {*many.train}
        assert few.test == whole.test


def test_n_minus_1_makes_each_demonstration_the_test_once():
    whole = task(train=3, test=2)

    found = narrowed([whole], n_minus=1)

    assert [one.test for one in found] == [(pair,) for pair in whole.train]
    assert [one.train for one in found] == [whole.train[1:], whole.train[::2], whole.train[:2]]


def test_n_minus_2_adds_the_tasks_without_two_demonstrations():
    whole = task(train=3)

    found = narrowed([whole], n_minus=2)

    assert [len(one.train) for one in found] == [2] * 3 + [1] * 6
    held = {(*one.train, *one.test) for one in found[3:]}
    assert len(held) == 6


def test_a_task_with_one_demonstration_is_left_out():
    assert narrowed([task(train=1)], n_minus=1) == []
    assert [len(one.train) for one in narrowed([task(train=2)], n_minus=2)] == [1, 1]


def test_examples_are_limited_before_one_is_left_out():
    found = narrowed([task(train=5)], examples=2, n_minus=1)

    assert [(len(one.train), len(one.test)) for one in found] == [(1, 1), (1, 1)]


def test_narrow_rejects_a_subset_larger_than_the_table():
    message = "cannot select 11 tasks, as table 'mine' has only 10; set the component's subset"

    with pytest.raises(ValueError, match=re.escape(message)):
        narrowed(TASKS, subset=11)


def test_the_hardest_half_of_the_variations_of_each_task_is_kept():
    found = [
        replace(one, pso=level)
        for id_, levels in (("a", (0.1, 0.4, 0.3, 0.2)), ("b", (0.9, 0.8)))
        for one, level in zip(varied(id_, len(levels)), levels, strict=True)
    ]

    kept = narrowed(found, hardest="50%")

    assert [(one.id, one.pso) for one in kept] == [("a", 0.4), ("a", 0.3), ("b", 0.9)]
    assert narrowed(found, hardest="100%") == found


def test_narrow_rejects_hardest_for_tasks_without_difficulty():
    with pytest.raises(ValueError, match="the tasks of table 'mine' have no difficulty"):
        narrowed(TASKS, hardest="50%")


def test_a_pool_draws_demonstrations_and_test_from_all_variations(tmp_path):
    one, other = task("a", train=2), task("a", train=2)
    pairs = [pair(number, height=number + 1, width=4) for number in range(6)]
    found = [
        replace(one, train=tuple(pairs[:2]), test=(pairs[2],)),
        replace(other, variation=1, train=tuple(pairs[3:5]), test=(pairs[5],)),
    ]
    [pooled] = narrowed(found, pool=True)
    how = make(swap=True, permute=True)

    sample_table.write(
        tmp_path / "samples",
        iter([augment.draw(augment.pool([pooled]), np.array([0]), how, 0, 0, 3000)]),
    )

    counts = np.zeros((3, 6), int)
    for sample in sample_table.read_pairs(tmp_path / "samples"):
        heights = [one.input.shape[0] - 1 for one in sample]
        assert len({*heights}) == 3
        counts[range(3), heights] += 1
    # Six standard deviations of a fair draw, 500 of each.
    assert np.abs(counts - 500).max() < 6 * np.sqrt(500)


@pytest.mark.parametrize("other", [{"n_minus": 1}, {"per_test": True}])
def test_a_component_rejects_a_pool_with_several_entries(other):
    with pytest.raises(ValueError, match="a pool is one entry"):
        Component.model_validate(component("mine", pool=True, **other))


@pytest.mark.parametrize("subset", ["20", "120%", "half", 0, 0.2, "-5%"])
def test_a_component_rejects_an_invalid_subset(subset):
    with pytest.raises(ValueError, match="subset"):
        Component.model_validate(component("mine", subset=subset))
