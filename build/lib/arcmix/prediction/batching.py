"""Jobs in batches, shared by processes, with a cache of their results.

The batches depend on the jobs alone, not on the cache or on the number of processes. The last bits
of a result depend on its batch, so the cache holds whole batches: a result is the same, to the bit,
whether it is computed or cached, by one process or by two. A batch is cached as soon as it is done.
"""

import bisect
import hashlib
import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arcmix import files
from arcmix.models.parallel import Ranks


@dataclass(frozen=True)
class Job:
    """A prompt with its search, or with the candidates to score."""

    key: str
    """Everything that the result depends on, beside the other jobs of its batch and the scope of
    the cache."""
    family: Hashable
    """Jobs of one family are in the same batch."""
    length: int
    """Number of tokens of each of its rows."""
    rows: int
    """Number of rows that it needs in a batch."""


class ResultCache:
    """A cache of the results of batches, with a small file for each batch.

    Args:
        folder: The folder of the files; runs share it, also at the same time.
        scope: Everything that all results depend on; it is part of the hash of each batch.
    """

    def __init__(self, folder: Path, scope: str) -> None:
        self._folder, self._scope = folder, scope

    def within(self, scope: str) -> "ResultCache":
        """Return the cache of results that depend on something more, such as the adapter."""
        return ResultCache(self._folder, f"{self._scope}\n{scope}")

    def _path(self, batch: Sequence[Job]) -> Path:
        keys = [self._scope, *(job.key for job in batch)]
        name = hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:32]
        return self._folder / name[:2] / f"{name[2:]}.json"

    def get(self, batch: Sequence[Job]) -> list[Any] | None:
        """Return the results of a batch, None if the cache does not have them whole."""
        return files.read_checked(self._path(batch))

    def put(self, batch: Sequence[Job], results: Sequence[Any]) -> None:
        """Store the results of a batch, JSON values."""
        files.write_checked(self._path(batch), [*results])


def batches(jobs: Sequence[Job], tokens: int) -> list[list[int]]:
    """Return the numbers of the jobs of each batch, by ascending length.

    The number of batches is the smallest that the limit allows. Among such batches, the largest one
    is as small as possible, so that processes that share the batches have equal work.

    Args:
        jobs: The jobs.
        tokens: Limit on the tokens of a batch, padding included. A family above the limit is a
            batch of its own.
    """
    members: dict[Hashable, list[int]] = {}
    for number, job in enumerate(jobs):
        members.setdefault(job.family, []).append(number)
    families = sorted(members.values(), key=lambda own: max(jobs[one].length for one in own))
    count = len(_fill(jobs, families, tokens))
    limits = range(1, tokens + 1)
    lowest = bisect.bisect_left(
        limits, -count, key=lambda limit: -len(_fill(jobs, families, limit))
    )
    return _fill(jobs, families, limits[lowest])


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
    work: Callable[[list[int]], list[Any]],
    cache: ResultCache,
    tokens: int,
    ranks: Ranks,
    done: Callable[[int], object],
) -> list[Any]:
    """Return the results of all jobs on each rank; the ranks share the batches.

    Args:
        jobs: The jobs, the same on each rank.
        work: Computes the results of the jobs with the given numbers; results are JSON values.
        cache: Results of earlier runs; new results are added.
        tokens: Limit on the tokens of a batch (`batches`).
        ranks: The ranks that share the batches.
        done: Called with the number of jobs of a batch once the batch is done.
    """
    found: dict[int, Any] = {}
    for batch in ranks.share(batches(jobs, tokens)):
        chosen = [jobs[number] for number in batch]
        known = cache.get(chosen)
        if known is None:
            known = work(batch)
            cache.put(chosen, known)
        found |= zip(batch, known, strict=True)
        done(len(batch))
    gathered = ranks.gather(found)
    return [gathered[number] for number in range(len(jobs))]
