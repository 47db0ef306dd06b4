"""Work that processes share: who does which part of it, and what comes of all parts together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import accelerate.utils

from arcmix import processes

K = TypeVar("K")
T = TypeVar("T")


@dataclass(frozen=True)
class Crew:
    """Processes that share a piece of work."""

    number: int
    """Of this process among them, from 0."""
    count: int
    """How many they are."""

    def turn(self, work: Sequence[T]) -> Sequence[T]:
        """Return this process's part of the work, which they take in turns."""
        return work[self.number :: self.count]

    def merged(self, found: Mapping[K, T]) -> dict[K, T]:
        """Return what each of them found, to each of them.

        Args:
            found: What this process found, which can be pickled.
        """
        if self.count == 1:
            return dict(found)
        return dict(accelerate.utils.gather_object([*found.items()]))


ALONE = Crew(0, 1)
"""A process that shares nothing."""


def everyone() -> Crew:
    """Return all processes of the stage."""
    shared = processes.shared()
    return Crew(shared.process_index, shared.num_processes)
