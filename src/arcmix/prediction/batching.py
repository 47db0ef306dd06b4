"""Jobs in units, shared by processes, with a cache of their results.

A unit is what begins together and is cached together, as soon as it is done. The units depend on
the jobs alone, not on the cache or on the number of processes. The last bits of a result depend on
what is computed beside it:

- Batches are computed alone. So a result is the same, to the bit, whether it is computed or cached,
  by one process or by two.
- Families join others that are in progress. So a result is the same up to rounding only.
"""

import bisect
import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arcmix import files
from arcmix.models.parallel import Ranks


@dataclass(frozen=True)
class Job:
    """A prompt with its search, or with the candidates to score."""

    key: str
    """Everything that the result depends on, beside the other jobs of its unit and the scope of the
    cache."""
    family: Hashable
    """Jobs of one family are in the same unit."""
    length: int
    """Number of tokens of each of its rows."""
    rows: int
    """Number of rows that it needs."""


class ResultCache:
    """A cache of the results of units, with a small file for each unit.

    Args:
        folder: The folder of the files; runs share it, also at the same time.
        scope: Everything that all results depend on; it is part of the hash of each unit.
    """

    def __init__(self, folder: Path, scope: str) -> None:
        self._folder, self._scope = folder, scope

    def within(self, scope: str) -> "ResultCache":
        """Return the cache of results that depend on something more, such as the adapter."""
        return ResultCache(self._folder, f"{self._scope}\n{scope}")

    def _path(self, unit: Sequence[Job]) -> Path:
        keys = [self._scope, *(job.key for job in unit)]
        name = hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:32]
        return self._folder / name[:2] / f"{name[2:]}.json"

    def get(self, unit: Sequence[Job]) -> list[Any] | None:
        """Return the results of a unit, None if the cache does not have them whole."""
        return files.read_checked(self._path(unit))

    def put(self, unit: Sequence[Job], results: Sequence[Any]) -> None:
        """Store the results of a unit, JSON values."""
        files.write_checked(self._path(unit), [*results])


def families(jobs: Sequence[Job]) -> list[list[int]]:
    """Return the numbers of the jobs of each family, by descending length of its longest job."""
    members: dict[Hashable, list[int]] = {}
    for number, job in enumerate(jobs):
        members.setdefault(job.family, []).append(number)
    return sorted(members.values(), key=lambda own: -max(jobs[one].length for one in own))


def batches(jobs: Sequence[Job], tokens: int) -> list[list[int]]:
    """Return the numbers of the jobs of each batch, by ascending length.

    The number of batches is the smallest that the limit allows. Among such batches, the largest one
    is as small as possible, so that processes that share the batches have equal work.

    Args:
        jobs: The jobs.
        tokens: Limit on the tokens of a batch, padding included. A family above the limit is a
            batch of its own.
    """
    members = families(jobs)[::-1]
    count = len(_fill(jobs, members, tokens))
    limits = range(1, tokens + 1)
    lowest = bisect.bisect_left(limits, -count, key=lambda limit: -len(_fill(jobs, members, limit)))
    return _fill(jobs, members, limits[lowest])


def _fill(jobs: Sequence[Job], families: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
    """Return batches of families in the given order, each filled up to the limit."""
    found: list[list[int]] = []
    rows = 0
    for own in families:
        longest = max(jobs[one].length for one in own)
        more = sum(jobs[one].rows for one in own)
        if not found or (rows + more) * longest > tokens:
            found.append([])
            rows = 0
        found[-1] += own
        rows += more
    return found


def results(
    jobs: Sequence[Job],
    units: Sequence[list[int]],
    work: Callable[[list[list[int]]], Iterable[tuple[int, list[Any]]]],
    cache: ResultCache,
    ranks: Ranks,
    done: Callable[[int], object],
) -> list[Any]:
    """Return the results of all jobs on each rank; the ranks share the units.

    Args:
        jobs: The jobs, the same on each rank.
        units: The numbers of the jobs of each unit.
        work: Given some units, yields the place of each and the results of its jobs, JSON values,
            as soon as they are there.
        cache: Results of earlier runs; new results are added as soon as they are there.
        ranks: The ranks that share the units.
        done: Called with the number of jobs of a unit once the unit is done.
    """
    found: dict[int, Any] = {}
    missing: list[list[int]] = []
    for unit in ranks.share(units):
        known = cache.get([jobs[number] for number in unit])
        if known is None:
            missing.append(unit)
        else:
            found |= zip(unit, known, strict=True)
            done(len(unit))
    for place, made in work(missing) if missing else ():
        unit = missing[place]
        cache.put([jobs[number] for number in unit], made)
        found |= zip(unit, made, strict=True)
        done(len(unit))
    gathered = ranks.gather(found)
    return [gathered[number] for number in range(len(jobs))]
