from hypothesis import given
from hypothesis import strategies as st

from arcmix.models.packing import packs

LENGTHS = st.lists(st.integers(1, 60), max_size=40)


@given(LENGTHS, st.integers(1, 100))
def test_every_sequence_is_in_one_pack_and_no_pack_is_too_long(lengths, limit):
    found = packs(lengths, limit)
    assert sorted(number for pack in found for number in pack) == list(range(len(lengths)))
    for pack in found:
        assert sum(lengths[number] for number in pack) <= limit or len(pack) == 1


@given(LENGTHS, st.integers(60, 100))
def test_no_two_packs_are_both_half_empty(lengths, limit):
    full = [sum(lengths[number] for number in pack) for pack in packs(lengths, limit)]
    assert sum(2 * size <= limit for size in full) <= 1


def test_long_sequences_open_packs_and_short_ones_fill_them():
    assert packs([3, 9, 5, 2, 5], 10) == [[1], [2, 4], [0, 3]]
