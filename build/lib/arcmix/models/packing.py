"""Packing of sequences into rows without padding."""

from collections.abc import Sequence


def packs(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """Return the indices of the sequences in each pack; the longest sequence is in the first.

    First-fit decreasing: in order of decreasing length, a sequence goes to the first pack with
    room for it. This needs at most 11/9 of the minimum number of packs (Johnson 1973).

    Args:
        lengths: Length of each sequence in tokens.
        limit: Maximum number of tokens in a pack; a longer sequence has its own pack.
    """
    result: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        length = lengths[number]
        index = next((pack for pack, left in enumerate(room) if left >= length), None)
        if index is None:
            result.append([])
            room.append(limit)
            index = len(result) - 1
        result[index].append(number)
        room[index] -= length
    return result
