"""Sequences in rows without padding."""

from collections.abc import Sequence


def packs(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """Return the numbers of the sequences of each pack, the pack of the longest first.

    First fit in decreasing order: a sequence goes to the first pack with room for it, which
    takes at most 11/9 of the fewest packs possible (Johnson 1973).

    Args:
        lengths: Length of each sequence in tokens.
        limit: Most tokens of a pack; a longer sequence is a pack of its own.
    """
    found: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda number: (-lengths[number], number)):
        length = lengths[number]
        fits = next((pack for pack, left in enumerate(room) if left >= length), None)
        if fits is None:
            found.append([])
            room.append(limit)
            fits = len(found) - 1
        found[fits].append(number)
        room[fits] -= length
    return found
