import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from arcmix.sampling import sample_table
from arcmix.sampling.augment import pool
from arcmix.tasks import Pair, Task
from tests.sampling.test_augment import FULL, drawn, make, new_tasks, pairs, same
from tests.sampling.test_augment_counting import counted, kinds


def test_a_chunk_is_unchanged_after_writing_and_reading(tmp_path):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    sample_table.write(whole, iter([drawn(FULL, count=100)]))
    sample_table.write(halves, iter([drawn(FULL, count=40), drawn(FULL, first=40, count=60)]))
    both = zip(sample_table.read_pairs(whole), sample_table.read_pairs(halves), strict=True)
    assert all(same(a, b) for one, other in both for a, b in zip(one, other, strict=True))


def test_lists_of_the_table_may_have_more_elements_than_int32_counts(tmp_path):
    table = sample_table.to_arrow(drawn(FULL, count=3))
    lists = [field.type for field in table.schema if pa.types.is_nested(field.type)]
    assert lists == [pa.large_list(pa.uint8())] * 5
    sample_table.write(tmp_path / "samples", iter([drawn(FULL, count=3)]))
    assert pq.read_schema(tmp_path / "samples").equals(sample_table.SCHEMA)


def test_grids_with_the_longest_side_are_unchanged_after_writing_and_reading(tmp_path):
    grids = [np.arange(255 * side).reshape(255, side).astype(np.uint8) % 10 for side in (255, 1)]
    large = Task("large", "arc", "training", 0, (Pair(*grids),), (Pair(grids[1].T, grids[0]),))
    [sample] = pairs(drawn(make(), count=1, slots=np.zeros(1, int), pool=pool([large])), tmp_path)
    assert [same(*both) for both in zip(sample, large.train + large.test, strict=True)] == [
        True
    ] * 2


def test_the_table_contains_the_change_that_made_a_new_task():
    samples = drawn(make(new_tasks=new_tasks(0.5, upscale=1)))
    texts = sample_table.to_arrow(samples)["new_task"].to_pylist()
    assert texts == [
        str(samples.new_tasks[place]) if place in samples.new_tasks else None
        for place in range(400)
    ]
    assert "output Upscale(rows=2, columns=3)" in texts


@given(st.integers(0, 2**31), st.integers(1, 60))
def test_a_long_sample_loses_its_last_demonstrations_until_it_fits_or_has_only_one(seed, limit):
    def cells(chunk):
        return [
            sum(pair.input.size + pair.output.size for pair in sample)
            for sample in sample_table.split(chunk)
        ]

    whole = drawn(FULL, count=20, seed=seed)
    short = sample_table.shorten(whole, cells, limit)
    assert short.grids.sum() == len(short.shapes)
    for before, after, size in zip(
        sample_table.split(whole), sample_table.split(short), cells(short), strict=True
    ):
        kept = [*before[: len(after) - 1], before[-1]]
        assert len(after) >= 2
        assert all(same(a, b) for a, b in zip(kept, after, strict=True))
        assert size <= limit or len(after) == 2
        if len(after) < len(before):
            left_out = before[len(after) - 1]
            assert size + left_out.input.size + left_out.output.size > limit


@given(st.integers(0, 2**31))
def test_from_pairs_is_the_inverse_of_split(seed):
    whole = drawn(FULL, count=7, seed=seed)
    made = sample_table.from_pairs([*sample_table.split(whole)])
    for name in ("grids", "shapes", "cells", "asked", "questions"):
        np.testing.assert_array_equal(getattr(made, name), getattr(whole, name))
        assert getattr(made, name).dtype == getattr(whole, name).dtype


def test_questions_are_unchanged_after_writing_and_reading(tmp_path):
    samples = counted(count=70)
    sample_table.write(tmp_path / "samples", iter([samples]))
    read = [
        asked
        for chunk in sample_table.read_chunks(tmp_path / "samples", 9)
        for asked in sample_table.questions(chunk)
    ]
    assert read == [asked.tolist() for asked in kinds(samples)]


@given(st.lists(st.booleans(), min_size=12, max_size=12))
def test_select_does_not_change_the_selected_samples(rows):
    whole = counted(count=12)
    some = sample_table.select(whole, np.array(rows))
    if not any(rows):
        assert [len(getattr(some, name)) for name in vars(some)] == [0] * 5
        return
    kept = [pairs_ for pairs_, row in zip(sample_table.split(whole), rows, strict=True) if row]
    for one, other in zip(kept, sample_table.split(some), strict=True):
        assert all(same(a, b) for a, b in zip(one, other, strict=True))
    asked = [found for found, row in zip(sample_table.questions(whole), rows, strict=True) if row]
    assert sample_table.questions(some) == asked
