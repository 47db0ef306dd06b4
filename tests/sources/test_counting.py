from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from arcmix import objects, tasks
from arcmix.config import origins
from arcmix.objects import Object
from arcmix.sources import counting


def source(**changes):
    values = {"seed": 0, "max_side": 12, "curriculum": 2, "objects": 6, "background": 0.2}
    return origins.CountingSource.model_validate(
        {"kind": "counting", "tasks": 30, "pin": None} | values | changes
    )


def blobs(grid):
    """Return the sizes of connected areas of any colors, connected by sides or corners."""
    some = np.pad(grid != objects.background(grid), 1)
    names = np.where(some, np.arange(1, some.size + 1).reshape(some.shape), 0)
    while True:
        near = [np.roll(names, step, (0, 1)) for step in np.ndindex(3, 3)]
        near = [np.roll(one, (-1, -1), (0, 1)) for one in near]
        grown = np.where(some, np.max(near, axis=0), 0)
        if (grown == names).all():
            return sorted(Counter(names[some].tolist()).values())
        names = grown


sources = st.builds(
    source,
    seed=st.integers(0, 2**31),
    max_side=st.integers(3, 14),
    curriculum=st.integers(1, 4),
    objects=st.integers(1, 12),
    background=st.sampled_from([0.0, 0.5, 1.0]),
)


@given(sources, st.integers(0, 10**6))
def test_objects_do_not_touch_and_cover_less_than_half_of_the_grid(how, index):
    grid = counting.draw(how, index)
    behind = objects.background(grid)
    assert all(counting.MIN_SIDE <= side <= how.max_side for side in grid.shape)
    assert 2 * np.count_nonzero(grid == behind) > grid.size
    found = objects.find(grid)
    assert 1 <= len(found) <= how.objects
    assert blobs(grid) == sorted(one.area for one in found)
    assert how.background or behind == 0


keys = stn.arrays(np.uint64, (11, 13), elements=st.integers(0, 2**64 - 1), unique=True)
paints = st.lists(st.integers(1, 9), min_size=1, max_size=9)


@given(keys, paints)
def test_count_finds_the_objects_that_were_drawn(order, colors):
    # Nine objects of one cell fit into 11 x 13 cells at any positions.
    grid = counting.place(order, 0, np.ones(9, np.int64), np.resize(colors, 9), 99)
    assert sorted(objects.find(grid)) == sorted(Object(int(c), 1) for c in np.resize(colors, 9))


@given(keys, st.integers(1, 71))
def test_a_single_object_has_the_area_that_was_drawn(order, area):
    grid = counting.place(order, 4, np.array([area]), np.array([0]), 143)
    assert objects.find(grid) == [Object(0, area)]


def test_objects_stop_when_no_room_is_left():
    order = np.arange(40, dtype=np.uint64).reshape(5, 8)
    grid = counting.place(order, 0, np.array([3, 9, 2]), np.array([1, 2, 3]), 7)
    assert objects.find(grid) == [Object(1, 3), Object(2, 4)]


def test_a_larger_dataset_extends_a_smaller_one():
    fewer, more = (counting.load("count", source(tasks=number)).tasks for number in (7, 11))
    assert tasks.digest(fewer) == tasks.digest(more[:7])
    assert len({task.id for task in more}) == 11
    assert tasks.digest(fewer) != tasks.digest(
        counting.load("count", source(tasks=7, seed=1)).tasks
    )


def test_a_task_has_no_demonstrations_and_its_output_equals_its_input():
    loaded = counting.load("count", source())
    assert (len(loaded.tasks), loaded.rejects) == (30, {})
    for task in loaded.tasks:
        [pair] = task.test
        assert (task.source, task.train, task.pso) == ("count", (), None)
        np.testing.assert_array_equal(pair.input, pair.output)


def test_more_draws_in_the_curriculum_give_smaller_grids():
    means = []
    for draws in (1, 2, 4):
        how = source(curriculum=draws, max_side=20)
        sides = [counting.draw(how, index).shape for index in range(300)]
        means.append(np.mean(sides))
    # The expected minimum of k draws from 3 to 20 is about 3 + 17 / (k + 1).
    np.testing.assert_allclose(means, [11.5, 8.4, 6.0], atol=0.7)


def test_small_grids_have_fewer_objects():
    means = []
    for side in (4, 20):
        how = source(curriculum=1, max_side=side, objects=10)
        means.append(np.mean([len(objects.find(counting.draw(how, i))) for i in range(200)]))
    assert means[0] < 2.5
    assert means[1] > 4


def test_the_background_is_recolored_with_the_given_probability():
    how = source(background=0.5)
    behind = [objects.background(counting.draw(how, index)) for index in range(400)]
    # Half of the backgrounds have any of the ten colors, including 0.
    assert 0.39 < np.mean([color > 0 for color in behind]) < 0.51
    assert {*behind} == {*range(10)}
