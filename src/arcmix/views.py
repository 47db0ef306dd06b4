"""The views of a test in which it is answered, and how they are drawn."""

from dataclasses import dataclass

import numpy as np

from arcmix import draws, grid
from arcmix.tasks import COLORS, Task


@dataclass(frozen=True)
class Question:
    """One test of a task as one view shows it."""

    task: Task
    """The task, whose grids are as they are."""
    test: int
    """Number of the test."""
    view: int
    """Number of the view."""
    shown: grid.View
    """What the view does to a grid."""
    order: tuple[int, ...]
    """Training pairs in the order in which they are shown."""


def questions(task: Task, test: int, count: int, background: float, seed: int) -> list[Question]:
    """Return the views of a test: view 0 is the original, the others are drawn.

    The eight symmetries take turns, and each view but the first has its own colors and
    order of pairs (arc24's AIRV). View v is a function of (seed, task, v), so more views extend
    fewer, and the tests of a task are shown behind the same demonstrations.

    Args:
        task: The task.
        test: Number of the test.
        count: Number of views.
        background: Chance that a recoloring moves color 0 too.
        seed: The experiment's seed.
    """
    purpose = f"predict/{task.id}"
    words = draws.words(seed, f"{purpose}/colors", 0, count, COLORS + 1)
    colors = grid.color_maps(words[:, 1:], draws.uniform(words[:, 0]) < background)
    orders = np.argsort(
        draws.words(seed, f"{purpose}/order", 0, count, len(task.train)), axis=1, kind="stable"
    )
    colors[0], orders[0] = np.arange(COLORS), np.arange(len(task.train))
    return [
        Question(
            task,
            test,
            view,
            grid.View(view % grid.SYMMETRIES, tuple(colors[view].tolist())),
            tuple(orders[view].tolist()),
        )
        for view in range(count)
    ]
