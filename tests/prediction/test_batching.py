"""Tests of batches, and of the cache of results."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcmix.models.parallel import ONE_RANK
from arcmix.prediction.batching import Job, ResultCache, batches, families, results

jobs = st.lists(
    st.builds(
        Job,
        key=st.uuids().map(str),
        family=st.integers(0, 5),
        length=st.integers(1, 40),
        rows=st.integers(1, 3),
    ),
    max_size=30,
)


@given(jobs, st.integers(1, 200))
def test_each_job_is_in_one_batch_with_its_whole_family(found, tokens):
    made = batches(found, tokens)
    assert sorted(number for batch in made for number in batch) == [*range(len(found))]
    for batch in made:
        families = {found[number].family for number in batch}
        members = {number for number, job in enumerate(found) if job.family in families}
        assert members == set(batch)


@given(jobs, st.integers(1, 200))
def test_a_batch_is_within_the_limit_or_a_single_family(found, tokens):
    for batch in batches(found, tokens):
        rows = sum(found[number].rows for number in batch)
        longest = max(found[number].length for number in batch)
        one = len({found[number].family for number in batch}) == 1
        assert one or rows * longest <= tokens


def test_batches_are_even_and_as_few_as_the_limit_allows():
    alike = [Job(str(number), number, 10, 1) for number in range(14)]
    assert [len(batch) for batch in batches(alike, 120)] == [7, 7]
    assert [len(batch) for batch in batches(alike, 140)] == [14]
    assert [len(batch) for batch in batches(alike, 50)] == [5, 5, 4]
    assert batches([], 50) == []


@given(jobs, st.integers(1, 200))
def test_a_smaller_limit_would_make_more_batches(found, tokens):
    made = batches(found, tokens)
    largest = max(
        (
            sum(found[number].rows for number in batch)
            * max(found[number].length for number in batch)
            for batch in made
            if len({found[number].family for number in batch}) > 1
        ),
        default=0,
    )
    if largest > 1:
        assert len(batches(found, largest - 1)) > len(made)


def squares(numbers):
    return [{"square": number * number} for number in numbers]


def work_on(units):
    """Yield the results of the units, the last first."""
    return [(place, squares(units[place])) for place in reversed(range(len(units)))]


def of_batches(found, work, cache, tokens, done=lambda _: None):
    return results(found, batches(found, tokens), work, cache, ONE_RANK, done)


def test_results_are_in_the_order_of_the_jobs_and_are_computed_once(tmp_path):
    found = [Job(str(number), number, 40 - number, 1) for number in range(9)]
    cache, counts, seen = ResultCache(tmp_path, "one"), [], []

    def counted(units):
        seen.extend(number for unit in units for number in unit)
        return work_on(units)

    expected = squares(range(9))
    assert of_batches(found, counted, cache, 100, counts.append) == expected
    assert of_batches(found, counted, cache, 100, counts.append) == expected
    assert sorted(seen) == [*range(9)]
    assert sum(counts) == 18


def test_each_unit_is_cached_as_soon_as_it_is_done(tmp_path):
    found = [Job(str(number), number // 2, 40, 1) for number in range(8)]
    cache = ResultCache(tmp_path, "one")

    def killed(units):
        yield from work_on(units)[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        results(found, families(found), killed, cache, ONE_RANK, lambda _: None)
    asked = []

    def rest(units):
        asked.extend(units)
        return work_on(units)

    assert results(found, families(found), rest, cache, ONE_RANK, lambda _: None) == squares(
        range(8)
    )
    assert asked == [[0, 1], [2, 3]]


def test_families_are_whole_and_the_longest_is_the_first():
    lengths = [5, 9, 7, 8, 2]
    found = [Job("", "abaca"[number], length, 1) for number, length in enumerate(lengths)]
    assert families(found) == [[1], [3], [0, 2, 4]]


def job(key):
    return Job(key, 0, 1, 1)


def test_another_scope_or_batch_has_other_results(tmp_path):
    batch = [job("a"), job("b")]
    ResultCache(tmp_path, "one").put(batch, [[1, None, 0.1], {}])
    assert ResultCache(tmp_path, "one").get(batch) == [[1, None, 0.1], {}]
    assert ResultCache(tmp_path, "two").get(batch) is None
    for other in ([job("a")], [job("b")], [job("b"), job("a")], [job("a"), job("b"), job("c")]):
        assert ResultCache(tmp_path, "one").get(other) is None


def test_an_empty_result_is_cached(tmp_path):
    cache = ResultCache(tmp_path, "one")
    cache.put([job("key")], [[]])
    found = of_batches([job("key")], work_on, cache, 10)
    assert found == [[]]


@pytest.mark.parametrize("damage", [b"", b"{", b"[[NaN]]", b"\xff", None])
def test_a_batch_with_a_damaged_file_is_computed_again_as_a_whole(tmp_path, damage):
    found = [Job(str(number), number, 10, 1) for number in range(6)]
    cache, seen = ResultCache(tmp_path, "one"), []

    def counted(units):
        seen.extend(units)
        return work_on(units)

    expected = of_batches(found, counted, cache, 30)
    batches_made = [*seen]
    assert [len(batch) for batch in batches_made] == [3, 3]
    path = min(tmp_path.rglob("*.json"))
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"square", b"square1") if damage is None else damage)

    assert of_batches(found, counted, cache, 30) == expected
    [again] = seen[2:]
    assert again in batches_made
    assert path.read_bytes() == whole
