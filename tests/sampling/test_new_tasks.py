"""The law of a change, from the rules of arc24, is worked out here for each size of the grids."""

from collections import Counter
from itertools import product

import numpy as np
import pytest

from arcmix import transforms
from arcmix.sampling import augment, new_tasks
from arcmix.tasks import Pair, Task
from arcmix.transforms import Padding, Turn, Upscale
from tests.arc import pair
from tests.sampling import test_augment
from tests.sampling.test_augment import COLORED, FULL, drawn, make, pairs, same

NEW = make(**COLORED, new_tasks=test_augment.new_tasks())
DRAWS = 10_000
SIZES = [(3, 5), (7, 10), (13, 16), (24, 15), (27, 28), (29, 4), (30, 29)]
"""Heights and widths at which the largest factors, frames and axes change."""


def made(samples):
    """Return the new tasks of samples."""
    return [one for one in samples.new_tasks.values() if isinstance(one, new_tasks.NewTask)]


def applied(new, pair):
    """Return the pair of a new task that results from a pair of the old task."""
    if new.side == "input":
        return type(pair)(new.change.apply(pair.input), pair.output)
    return type(pair)(pair.input, new.change.apply(pair.output))


def uniform(values, share=1.0):
    """Return each value -> its part of a share; without values, None has all of it."""
    values = [*values] or [None]
    return {value: share / len(values) for value in values}


def two(rows, columns, smallest):
    """Return the law of two numbers: equal ones or different ones, with half a chance each."""
    equal = [(size, size) for size in range(smallest, min(rows, columns) + 1)]
    sizes = product(range(1, rows + 1), range(1, columns + 1))
    different = [size for size in sizes if size[0] != size[1]]
    halves = uniform(equal, 0.5), uniform(different or equal, 0.5)
    return {size: sum(half.get(size, 0) for half in halves) for size in {**halves[0], **halves[1]}}


def law(kind, height, width):
    """Return each change of a kind -> its probability; "None" is that of an unchanged sample."""
    if kind == "geometric":
        found = uniform(map(Turn, range(1, 8)))
    elif kind == "mirror":
        axes = [axis for axis, side in enumerate((height, width)) if 2 * side <= 30]
        found = uniform(f"Mirror(axis={a}, image_first={b})" for a in axes for b in (False, True))
    elif kind == "upscale":
        sizes = two(min(30 // height, 4), min(30 // width, 4), 2)
        found = {size and Upscale(*size): share for size, share in sizes.items()}
    else:
        sizes = two(min((30 - height) // 2, 5), min((30 - width) // 2, 5), 1)
        found = {
            size and Padding(*size, color): share / (10 if size else 1)
            for size, share in sizes.items()
            for color in range(10)
        }
    return {str(change): share for change, share in found.items()}


@pytest.mark.parametrize("kind", ["geometric", "padding", "upscale", "mirror"])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_change_is_drawn_among_those_that_fit_with_the_odds_of_arc24(kind, height, width):
    # The grids of one task differ in size. What counts is the largest height and the largest width.
    grids = np.zeros((height, 1), np.uint8), np.zeros((1, width), np.uint8)
    whole = Task("e", "arc", "training", 0, (Pair(*grids),), (Pair(*grids[::-1]),))
    how = make(new_tasks=test_augment.new_tasks(**{kind: 1}))
    samples = drawn(how, DRAWS, slots=np.array([0]), pool=augment.pool([whole]))
    found = Counter(str(one.change) for one in made(samples))
    found["None"] = DRAWS - len(samples.new_tasks)
    expected = law(kind, height, width)
    assert sum(expected.values()) == pytest.approx(1)
    assert {change for change, count in found.items() if count} == {*expected}
    for change, share in expected.items():
        # Six standard deviations: a fair draw fails once in 10^8.
        spread = 6 * np.sqrt(DRAWS * share * (1 - share))
        assert abs(found[change] - DRAWS * share) <= spread
    assert samples.shapes.max() <= 30


def test_a_grid_above_the_limit_is_only_turned():
    wide = np.zeros((2, 93), np.uint8)
    whole = Task("e", "arc-1d", "training", 0, (Pair(wide, wide),), (Pair(wide, wide),))
    samples = drawn(NEW, slots=np.array([0]), pool=augment.pool([whole]))
    assert {type(one.change) for one in made(samples)} == {Turn}
    assert samples.shapes.max() == 93


def test_a_new_task_changes_only_the_inputs_or_only_the_outputs_of_all_pairs(tmp_path):
    old, new = drawn(FULL), drawn(NEW)
    assert [*new.new_tasks] == [*range(400)]
    both = zip(pairs(old, tmp_path), pairs(new, tmp_path), strict=True)
    for place, (before, after) in enumerate(both):
        expected = [applied(new.new_tasks[place], pair) for pair in before]
        assert all(same(a, b) for a, b in zip(expected, after, strict=True))


def test_a_sample_that_does_not_become_a_new_task_is_unchanged(tmp_path):
    # Inputs are too large for an enlargement of both sides or for a wide frame.
    large = Task("e", "arc", "training", 0, (pair(0, 28, 16),) * 2, (pair(1),))
    how = {"slots": np.array([0]), "pool": augment.pool([large])}
    old, new = drawn(make(), **how), drawn(make(new_tasks=test_augment.new_tasks()), **how)
    both = zip(pairs(old, tmp_path), pairs(new, tmp_path), strict=True)
    for place, (before, after) in enumerate(both):
        change = new.new_tasks.get(place)
        expected = [applied(change, one) if change else one for one in before]
        assert all(same(a, b) for a, b in zip(expected, after, strict=True))
    assert new.shapes.max() == 30
    assert 0 < len(new.new_tasks) < 400


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_new_tasks_are_drawn_by_probability_and_weights(probability):
    how = test_augment.new_tasks(probability, geometric=1, padding=2, upscale=4)
    found = made(drawn(make(new_tasks=how), count=8000))
    kinds = Counter(type(one.change) for one in found)
    sides = Counter(one.side for one in found)
    shares = {
        transforms.Turn: 1 / 7,
        transforms.Padding: 2 / 7,
        transforms.Upscale: 4 / 7,
        transforms.Mirror: 0,
    }
    # Six standard deviations: a fair draw fails once in 10^8.
    spread = 6 * np.sqrt(8000 * probability * (1 - probability))
    assert abs(len(found) - 8000 * probability) <= spread
    for kind, share in shares.items():
        assert abs(kinds[kind] - len(found) * share) <= 6 * np.sqrt(len(found) * share)
    assert abs(sides["input"] - len(found) / 2) <= 6 * np.sqrt(len(found) / 2)
