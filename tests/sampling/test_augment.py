from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arcmix import transforms
from arcmix.config.params import Augment
from arcmix.sampling import augment, sample_table
from tests.arc import task

ENTRIES = [task("a", train=3), task("b", train=2, test=2), task("c", train=1), task("d", train=5)]
POOL = augment.pool(ENTRIES)
SLOTS = np.arange(4)
WEIGHTS = {"geometric": 1, "padding": 1, "upscale": 1, "mirror": 1}


def make(**changes):
    plain = {
        "symmetries": 1,
        "swap": False,
        "permute": False,
        "color_swaps": 0,
        "preserve_colors": False,
        "background": 0.0,
        "new_tasks": {"probability": 0.0, "weights": WEIGHTS},
    }
    return Augment.model_validate(plain | changes)


def new_tasks(probability=1.0, **weights):
    none = dict.fromkeys(WEIGHTS, 0)
    return {"probability": probability, "weights": none | (weights or WEIGHTS)}


COLORED = {"symmetries": 8, "swap": True, "permute": True, "color_swaps": 4, "background": 0.1}
FULL = make(**COLORED)


def drawn(how, count=400, first=0, seed=0, slots=SLOTS, pool=POOL):
    return augment.draw(pool, slots, how, seed, first, count)


def pairs(samples, tmp_path):
    path = tmp_path / "samples.parquet"
    sample_table.write(path, iter([samples]))
    return list(sample_table.read_pairs(path))


def same(one, other):
    return all(
        np.array_equal(a, b) for a, b in ((one.input, other.input), (one.output, other.output))
    )


def number(pair, entry):
    """Return the number of a pair in its entry."""
    [found] = [n for n, one in enumerate(entry.train + entry.test) if same(one, pair)]
    return found


def test_a_pool_of_more_cells_than_int32_counts_gives_the_same_samples():
    # The first 2**31 cells are never read, so they take no memory.
    far = 2**31
    cells = np.zeros(far + len(POOL.cells), np.uint8)
    cells[far:] = POOL.cells
    large = replace(POOL, cells=cells, starts=POOL.starts + far)
    for name, value in vars(drawn(FULL)).items():
        np.testing.assert_array_equal(getattr(drawn(FULL, pool=large), name), value)


def test_without_augmentation_a_sample_equals_its_entry(tmp_path):
    samples = drawn(make())
    for entry, sample in zip(samples.entries, pairs(samples, tmp_path), strict=True):
        whole = ENTRIES[entry]
        assert [number(pair, whole) for pair in sample[:-1]] == list(range(len(whole.train)))
        assert number(sample[-1], whole) >= len(whole.train)


def test_all_grids_of_a_sample_have_the_same_transform(tmp_path):
    samples = drawn(FULL)
    for place, sample in enumerate(pairs(samples, tmp_path)):
        view = transforms.Transform(
            int(samples.symmetries[place]), tuple(samples.colors[place].tolist())
        )
        whole = ENTRIES[samples.entries[place]]
        back = [type(pair)(view.invert(pair.input), view.invert(pair.output)) for pair in sample]
        found = [number(pair, whole) for pair in back]
        assert len(set(found)) == len(found) == len(whole.train) + 1


def test_each_pass_draws_every_entry_weight_times_in_a_new_order():
    slots = np.array([0, 1, 1, 2, 3])
    entries = drawn(make(), count=50, slots=slots).entries.reshape(10, 5)
    assert (np.sort(entries, axis=1) == np.sort(slots)).all()
    assert len({tuple(one) for one in entries}) > 5


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 90), st.integers(1, 60))
def test_a_sample_does_not_depend_on_the_first_sample_of_its_chunk(seed, first, count):
    some = make(**COLORED | {"symmetries": 5, "swap": "exchange"}, new_tasks=new_tasks(0.5))
    how = some if seed % 2 else FULL
    whole = drawn(how, count=150, seed=seed)
    part = drawn(how, count=count, first=first, seed=seed)
    grids = slice(whole.grids[:first].sum(), whole.grids[: first + count].sum())
    sizes = whole.shapes.astype(int).prod(axis=1)
    cells = slice(sizes[: grids.start].sum(), sizes[: grids.stop].sum())
    np.testing.assert_array_equal(part.entries, whole.entries[first : first + count])
    np.testing.assert_array_equal(part.shapes, whole.shapes[grids])
    np.testing.assert_array_equal(part.cells, whole.cells[cells])
    assert [part.new_tasks.get(place) for place in range(count)] == [
        whole.new_tasks.get(first + place) for place in range(count)
    ]


def test_another_seed_draws_different_samples():
    assert not np.array_equal(drawn(FULL, seed=1).symmetries, drawn(FULL, seed=2).symmetries)


@pytest.mark.parametrize("permute", [True, False])
def test_with_swap_every_pair_becomes_the_test_equally_often(tmp_path, permute):
    samples = drawn(make(swap=True, permute=permute), count=4000)
    counts = [np.zeros(len(entry.train + entry.test), int) for entry in ENTRIES]
    for entry, sample in zip(samples.entries, pairs(samples, tmp_path), strict=True):
        counts[entry][number(sample[-1], ENTRIES[entry])] += 1
    for count in counts:
        share = 1000 / len(count)
        # Six standard deviations: a fair draw fails once in 10^8.
        assert np.abs(count - share).max() < 6 * np.sqrt(share)


def test_with_swap_a_sample_has_all_pairs_of_a_task_with_one_test(tmp_path):
    samples = drawn(make(swap=True, permute=True))
    for entry, sample in zip(samples.entries, pairs(samples, tmp_path), strict=True):
        whole = ENTRIES[entry]
        if len(whole.test) == 1:
            found = sorted(number(pair, whole) for pair in sample)
            assert found == list(range(len(whole.train) + 1))


@given(st.integers(1, 6), st.integers(1, 3), st.booleans(), st.integers(0, 2**31))
def test_with_swap_a_sample_has_no_pair_twice_and_loses_none(train, test, permute, seed):
    whole = task("e", train=train, test=test)
    samples = drawn(
        make(swap=True, permute=permute),
        count=20,
        seed=seed,
        slots=np.array([0]),
        pool=augment.pool([whole]),
    )
    for sample in sample_table.split(samples):
        found = {number(pair, whole) for pair in sample}
        # All pairs, except the other tests of a task with several tests.
        assert len(found) == len(sample) == train + 1


def test_without_swap_a_test_pair_is_never_shown_as_a_demonstration(tmp_path):
    samples = drawn(make(permute=True))
    orders = set()
    for entry, sample in zip(samples.entries, pairs(samples, tmp_path), strict=True):
        whole = ENTRIES[entry]
        found = [number(pair, whole) for pair in sample]
        assert sorted(found[:-1]) == list(range(len(whole.train)))
        if entry == 3:
            orders.add(tuple(found))
    assert len(orders) > 40  # of 120


def test_both_tests_of_a_task_are_drawn(tmp_path):
    samples = drawn(make())
    tests = {
        number(sample[-1], ENTRIES[1])
        for entry, sample in zip(samples.entries, pairs(samples, tmp_path), strict=True)
        if entry == 1
    }
    assert tests == {2, 3}


@pytest.mark.parametrize("permute", [True, False])
def test_an_exchange_swaps_one_demonstration_and_one_test_or_none(tmp_path, permute):
    samples = drawn(make(swap="exchange", permute=permute), count=4000)
    shown = [[] for _ in ENTRIES]
    for entry, sample in zip(samples.entries, pairs(samples, tmp_path), strict=True):
        shown[entry].append([number(pair, ENTRIES[entry]) for pair in sample])
    for entry, found in zip(ENTRIES, shown, strict=True):
        train, ways = len(entry.train), len(entry.train) * len(entry.test)
        moved = [sum(one >= train for one in sample[:-1]) for sample in found]
        assert {*moved} == {0, 1}
        # A share of 1 / (1 + ways) has no exchange. After an exchange, the test of the sample is
        # the exchanged demonstration or, with two tests, maybe the other test.
        share = sum(moved) / len(moved)
        assert share == pytest.approx(ways / (1 + ways), abs=0.07)
        for sample, count in zip(found, moved, strict=True):
            assert len({*sample}) == len(sample) == train + 1
            assert count or sample[-1] >= train
        if not permute:
            kept = [one == place for sample in found for place, one in enumerate(sample[:-1])]
            assert sum(kept) == len(kept) - sum(moved)


def test_with_exchanges_each_prompt_of_their_list_is_drawn_equally_often(tmp_path):
    # The list has the task and train * test exchanges; each of these has all the tests.
    prompts = [
        (1 + len(entry.train) * len(entry.test)) * len(entry.test)
        for entry in (ENTRIES[slot] for slot in (0, 1, 1, 2, 3))
    ]
    count = 300 * sum(prompts)
    samples = drawn(make(swap="exchange"), count=count, slots=np.array([0, 1, 1, 2, 3]))
    expected = np.bincount([0, 1, 1, 2, 3], prompts) * 300
    np.testing.assert_array_equal(np.bincount(samples.entries), expected)
    counts = [np.zeros(len(entry.train + entry.test), int) for entry in ENTRIES]
    for entry, sample in zip(samples.entries, pairs(samples, tmp_path), strict=True):
        counts[entry][number(sample[-1], ENTRIES[entry])] += 1
    for entry, count, total in zip(ENTRIES, counts, expected, strict=True):
        train, test = len(entry.train), len(entry.test)
        share = np.array([test] * train + [1 + train * (test - 1)] * test)
        often = total * share / share.sum()
        # Six standard deviations: a fair draw fails once in 10^8.
        assert (np.abs(count - often) < 6 * np.sqrt(often)).all()


@pytest.mark.parametrize("count", [1, 3, 8])
def test_an_entry_has_the_given_number_of_symmetries(count):
    samples = drawn(make(symmetries=count), count=1000)
    found = [{*samples.symmetries[samples.entries == entry].tolist()} for entry in range(4)]
    assert [len(one) for one in found] == [count] * 4
    assert (found[0] == found[1] == found[2] == found[3]) == (count != 3)
    assert count != 1 or found[0] == {0}


@pytest.mark.parametrize(
    ("how", "share"),
    [
        pytest.param({"color_swaps": 4, "preserve_colors": False}, 0.0, id="never-original"),
        pytest.param({"color_swaps": 4, "preserve_colors": True}, 0.2, id="one-in-five"),
        pytest.param({"color_swaps": 1, "preserve_colors": True}, 0.5, id="half"),
        pytest.param({"color_swaps": 0, "preserve_colors": True}, 1.0, id="no-swaps"),
        pytest.param({"color_swaps": 0, "preserve_colors": False}, 1.0, id="no-color-step"),
    ],
)
def test_the_share_of_original_colors_follows_color_swaps(how, share):
    colors = drawn(make(**how), count=4000).colors
    original = (colors == np.arange(10)).all(axis=1).mean()
    assert original == pytest.approx(share, abs=0.05)


def test_the_background_is_permuted_in_its_share_of_the_recolored_samples():
    moved = drawn(make(color_swaps=1, background=0.1), count=8000).colors[:, 0] != 0
    # A permutation of all ten colors leaves color 0 unchanged in one case of ten.
    assert moved.mean() == pytest.approx(0.09, abs=0.02)
