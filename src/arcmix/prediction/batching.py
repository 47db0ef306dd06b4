"""Work on many prompts: in batches, by as many processes as there are, and never twice.

Batches are made of all the work, whatever is known already and however many processes share it.
So each answer comes of the same batch in one process and in two, unless some of the batch was
known. What is found is kept in files by its content at once.
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
    """A piece of the work."""

    key: str
    """Whatever its result depends on, and what is the same for all of them left out."""
    family: Hashable
    """Jobs of one family are done in one batch."""
    length: int
    """Tokens of each of its rows."""
    rows: int
    """Rows of a batch that it takes."""


class ResultCache:
    """Results by their keys, one small file each.

    Args:
        folder: Where they lie, shared by runs.
        scope: What all results depend on.
    """

    def __init__(self, folder: Path, scope: str) -> None:
        self._folder, self._scope = folder, scope

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(f"{self._scope}\n{key}".encode()).hexdigest()[:32]
        return self._folder / name[:2] / f"{name[2:]}.json"

    def get(self, key: str) -> Any | None:  # noqa: ANN401
        """Return what was found for a key, None if nothing was."""
        path = self._path(key)
        return files.read_json(path) if path.exists() else None

    def put(self, key: str, result: Any) -> None:  # noqa: ANN401
        """Keep a result, as JSON has it."""
        files.write_text(self._path(key), json.dumps(result, allow_nan=False))


def batches(jobs: Sequence[Job], tokens: int) -> list[list[int]]:
    """Return the numbers of the jobs of each batch, the shortest first.

    There are as few as the limit allows, as even as so few can be: processes take turns at them.

    Args:
        jobs: The work.
        tokens: Most tokens of a batch, counting each row as the longest; a family that has more
            is a batch of its own.
    """
    members: dict[Hashable, list[int]] = {}
    for number, job in enumerate(jobs):
        members.setdefault(job.family, []).append(number)
    families = sorted(members.values(), key=lambda own: max(jobs[one].length for one in own))
    few = len(_filled(jobs, families, tokens))
    limits = range(1, tokens + 1)
    even = bisect.bisect_left(limits, -few, key=lambda limit: -len(_filled(jobs, families, limit)))
    return _filled(jobs, families, limits[even])


def _filled(jobs: Sequence[Job], families: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
    """Return batches of families in their order, each as full as may be."""
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
    """Return the result of each job, on each rank; the ranks share the work.

    Args:
        jobs: The work, the same in each process.
        work: Returns the results of some jobs, by their numbers, as JSON has them.
        cache: Results of earlier runs; new ones are added.
        tokens: Most tokens of a batch.
        ranks: The ranks that share the work.
        done: Called with the number of jobs of each batch.
    """
    found: dict[int, Any] = {}
    for batch in ranks.share(batches(jobs, tokens)):
        known = {job: cache.get(jobs[job].key) for job in batch}
        if missing := [job for job, result in known.items() if result is None]:
            for job, result in zip(missing, work(missing), strict=True):
                cache.put(jobs[job].key, result)
                known[job] = result
        found |= known
        done(len(batch))
    gathered = ranks.gather(found)
    return [gathered[number] for number in range(len(jobs))]
