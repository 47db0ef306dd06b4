"""The result of loading a source, and its verification against the pins in `params.yaml`."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from arcmix import tasks
from arcmix.config import origins


@dataclass(frozen=True)
class Loaded:
    """The tasks of a source and how they were obtained."""

    tasks: list[tasks.Task]
    rejects: Counter[str]
    """Number of rejected tasks or draws, by reason."""
    origin: str
    """Where the tasks come from, for the log."""


def verified(name: str, values: Iterable[tasks.Value], pins: origins.Tasks, origin: str) -> Loaded:
    """Parse the tasks of a source and verify them against its pins.

    Args:
        name: Name of the source.
        values: Id, split, group and JSON of each task.
        pins: Expected number of tasks and tests, and their digest.
        origin: Where the values come from.

    Raises:
        ValueError: If the number of tasks, the number of tests or the digest differs.
    """
    found, rejects = tasks.parse(values, name, pins.max_side)
    loaded = Loaded(found, rejects, origin)
    tests = sum(len(task.test) for task in found)
    digest = tasks.digest(found)
    if (len(found), tests, digest) != (pins.tasks, pins.tests, pins.digest):
        raise ValueError(
            f"{name} from {origin} differs from the pins in sources.{name}:"
            f" expected {pins.tasks} tasks, {pins.tests} tests, digest {pins.digest};"
            f" found {len(found)} tasks, {tests} tests, digest {digest};"
            f" rejected: {summary(rejects)}; if these are the tasks that you want, update the pins"
        )
    return loaded


def summary(rejects: Counter[str]) -> str:
    """Return the number of rejects by reason, on one line."""
    return ", ".join(f"{count} x {rule!r}" for rule, count in sorted(rejects.items())) or "none"
