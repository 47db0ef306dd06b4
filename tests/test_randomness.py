import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcmix import randomness

seeds = st.integers(0, 2**40)


@given(
    seed=seeds,
    start=st.integers(0, 2**40),
    cuts=st.lists(st.integers(0, 9)),
    width=st.integers(1, 9),
)
def test_words_do_not_depend_on_how_the_draws_are_split(
    seed: int, start: int, cuts: list[int], width: int
) -> None:
    whole = randomness.words(seed, "colors", start, sum(cuts), width)

    starts = np.cumsum([start, *cuts])
    parts = [
        randomness.words(seed, "colors", int(first), count, width)
        for first, count in zip(starts, cuts, strict=False)
    ]

    assert whole.shape == (sum(cuts), width)
    assert whole.dtype == np.uint64
    np.testing.assert_array_equal(whole, np.concatenate([whole[:0], *parts]))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param((1, "colors", 3), id="seed"),
        pytest.param((0, "order", 3), id="purpose"),
        pytest.param((0, "colors", 2), id="width"),
    ],
)
def test_streams_differ_by(other: tuple[int, str, int]) -> None:
    words = randomness.words(0, "colors", 0, 100, 3)
    seed, purpose, width = other

    found = randomness.words(seed, purpose, 0, 100, width)

    assert not np.isin(found, words).any()


def test_words_of_one_stream_do_not_repeat() -> None:
    words = randomness.words(0, "colors", 0, 10_000, 5)

    assert len(np.unique(words)) == words.size


def test_uniform_is_uniform() -> None:
    values = randomness.uniform(randomness.words(0, "test", 0, 100_000, 1))

    counts, _ = np.histogram(values, bins=10, range=(0, 1))
    # 5 standard deviations of a bin's count: a fair stream fails once in a million seeds,
    # and the seed is fixed.
    assert abs(counts - 10_000).max() < 5 * np.sqrt(100_000 * 0.1 * 0.9)
    assert abs(np.corrcoef(values[:-1, 0], values[1:, 0])[0, 1]) < 5 / np.sqrt(100_000)


@given(limit=st.integers(1, 2**53))
def test_below_is_at_least_zero_and_less_than_the_limit(limit: int) -> None:
    words = np.array([0, 2**64 - 1], np.uint64)

    low, high = randomness.below(words, limit)

    assert low == 0
    assert limit - 1 - limit // 2**40 <= high < limit


def test_below_accepts_a_limit_for_each_word() -> None:
    words = randomness.words(0, "test", 0, 1000, 3)

    values = randomness.below(words, np.array([1, 2, 10]))

    assert values.dtype == np.int64
    assert [sorted(set(column)) for column in values.T.tolist()] == [[0], [0, 1], [*range(10)]]


@given(seed=seeds, index=st.integers(0, 1000), length=st.integers(0, 50))
def test_permutation_contains_each_number_once(seed: int, index: int, length: int) -> None:
    found = randomness.permutation(seed, "order", index, length)

    assert sorted(found.tolist()) == list(range(length))


def test_permutations_are_equally_likely() -> None:
    found = [tuple(randomness.permutation(0, "order", index, 3).tolist()) for index in range(6000)]

    _, counts = np.unique(found, axis=0, return_counts=True)
    assert len(counts) == 6
    assert abs(counts - 1000).max() < 5 * np.sqrt(6000 * 5 / 36)


def test_words_have_not_changed() -> None:
    # A change of these numbers changes all results of the project, so add it to the changelog.
    assert randomness.words(7, "golden", 3, 2, 2).tolist() == [
        [446584496707059288, 18295462305652999071],
        [8234933204583967179, 7738408489046539223],
    ]


def test_a_derived_seed_depends_on_the_seed_and_the_purpose() -> None:
    found = [
        randomness.derived(seed, purpose) for seed in (0, 1) for purpose in ("adapt/a", "adapt/b")
    ]
    assert len({*found}) == 4
    assert found[0] == randomness.derived(0, "adapt/a")
    assert all(0 <= one < 2**64 for one in found)
