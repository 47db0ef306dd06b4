"""What every source yields, and the check that it is what `params.yaml` pins."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from arcmix import tasks
from arcmix.config import params


@dataclass(frozen=True)
class Loaded:
    """The tasks of a source."""

    tasks: list[tasks.Task]
    rejects: Counter[str]
    """For each broken rule, the number of tasks or draws set aside."""
    origin: str
    """Where they came from, for the log."""


def verified(name: str, values: Iterable[tasks.Value], pins: params.Tasks, origin: str) -> Loaded:
    """Parse the tasks of a source and compare them with its pins.

    Args:
        name: Name of the source.
        values: What the source says of each task.
        pins: What the source must hold.
        origin: Where the values come from.

    Raises:
        ValueError: If the number of tasks or tests or the digest is another one.
    """
    found, rejects = tasks.parse(values, name, pins.max_side)
    loaded = Loaded(found, rejects, origin)
    tests = sum(len(task.test) for task in found)
    digest = tasks.digest(found)
    if (len(found), tests, digest) != (pins.tasks, pins.tests, pins.digest):
        raise ValueError(
            f"{name} from {origin} is not what sources.{name} pins:"
            f" expected {pins.tasks} tasks, {pins.tests} tests, digest {pins.digest};"
            f" found {len(found)} tasks, {tests} tests, digest {digest};"
            f" rejected: {summary(rejects)}"
        )
    return loaded


def summary(rejects: Counter[str]) -> str:
    """Return the counts of rejects as one line."""
    return ", ".join(f"{count} x {rule!r}" for rule, count in sorted(rejects.items())) or "none"
