"""The result of loading a source, and its verification against the pins in `params.yaml`."""

import logging
import platform
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from arcmix import parsing, tasks
from arcmix.config import origins

log = logging.getLogger("arcmix.pins")


@dataclass(frozen=True)
class Loaded:
    """The tasks of a source and how they were obtained."""

    tasks: list[tasks.Task]
    rejects: Counter[str]
    """Number of rejected tasks or draws, by reason."""
    origin: str
    """Where the tasks come from, for the log."""


def verified(
    name: str,
    values: Iterable[parsing.Value],
    pins: origins.Tasks | origins.LooseTasks,
    origin: str,
) -> Loaded:
    """Parse the tasks of a source and verify them against its pins.

    Args:
        name: Name of the source.
        values: Id, split, group and JSON of each task.
        pins: Expected number of tasks and tests, and their digest. One that is None is not
            verified.
        origin: Where the values come from.

    Raises:
        ValueError: If the number of tasks, the number of tests or the digest differs, or if there
            is no task.
    """
    found, rejects = parsing.parse(values, name, pins.max_side or tasks.MAX_SIDE)
    loaded = Loaded(found, rejects, origin)
    expected = (pins.tasks, pins.tests, pins.digest)
    content = (len(found), sum(len(task.test) for task in found), tasks.digest(found))
    if any(pin not in (None, one) for pin, one in zip(expected, content, strict=True)):
        raise ValueError(
            f"{name} from {origin} differs from the pins in sources.{name}:"
            f" expected {_listed(expected)}; found {_listed(content)};"
            f" rejected: {summary(rejects)}; if these are the tasks that you want, update the pins:"
            f" {_update(name, pins)}"
        )
    if not found:
        raise ValueError(
            f"{name} from {origin} has no task; rejected: {summary(rejects)}; correct its files, or"
            f" the settings in sources.{name}"
        )
    if pins.digest is None:
        log.info(
            "%s: not pinned; found %s; to pin it: make pin SOURCE=%s", name, _listed(content), name
        )
    return loaded


def _update(name: str, pins: origins.Tasks | origins.LooseTasks) -> str:
    """Return how the pins of a source are updated."""
    if isinstance(pins, origins.LooseTasks):
        return f"make pin SOURCE={name}"
    return f"write what was found to tasks, tests and digest of sources.{name}"


def _listed(content: tuple[int | None, int | None, str | None]) -> str:
    names = ("{} tasks", "{} tests", "digest {}")
    shown = zip(names, content, strict=True)
    return ", ".join(name.format(one) for name, one in shown if one is not None)


def verify_draws(
    name: str,
    source: origins.GeneratorSource | origins.CountingSource,
    amount: Literal["variations", "tasks"],
    first: Callable[[int], Iterable[tasks.Task]],
) -> None:
    """Verify the first drawn tasks of a source if its settings are those of its pin.

    If they are other settings, or fewer tasks, the digest is logged, so that it can be pinned.

    Args:
        name: Name of the source.
        source: The settings, and the pin or None.
        amount: The setting that says how many tasks are drawn.
        first: Returns the tasks that a given amount would have drawn.

    Raises:
        ValueError: If the digest differs from the pin.
    """
    pin, number = source.pin, getattr(source, amount)
    pinned = False
    if pin is not None:
        settings = pin.model_dump(exclude={"digest", amount})
        enough = number >= getattr(pin, amount)
        pinned = enough and settings == source.model_dump(include={*settings})
        number = min(number, getattr(pin, amount))
    digest = tasks.digest(first(number))
    if pin is None or not pinned:
        log.info("%s: no pin for these settings; digest of %s %d: %s", name, amount, number, digest)
    elif digest != pin.digest:
        raise ValueError(
            f"{name}: the drawn tasks differ from sources.{name}.pin: expected digest {pin.digest}"
            f" with {amount} {number}, found {digest} with Python {platform.python_version()};"
            f" another Python or numpy may draw other tasks: use those of constraints.txt, or"
            f" set sources.{name}.pin to null to use these"
        )


def summary(rejects: Counter[str]) -> str:
    """Return the number of rejects by reason, on one line."""
    return ", ".join(f"{count} x {rule!r}" for rule, count in sorted(rejects.items())) or "none"
