"""The views of a test: the transforms in which the model answers it."""

from dataclasses import dataclass

import numpy as np

from arcmix import randomness, transforms
from arcmix.tasks import COLORS, Task


@dataclass(frozen=True)
class View:
    """A test of a task in one transform and one order of the demonstrations."""

    task: Task
    """The task, not transformed."""
    test: int
    """Number of the test."""
    index: int
    """Number of the view; view 0 is the original."""
    transform: transforms.Transform
    """The transform of all grids in the prompt, and of the answer."""
    order: tuple[int, ...]
    """Numbers of the demonstrations, in their order in the prompt."""


def views_of(task: Task, test: int, count: int, background: float, seed: int) -> list[View]:
    """Return the views of a test: view 0 is the original, the others are drawn.

    The views take the eight symmetries in turn. Each view after the first has a random permutation
    of the colors and a random order of the demonstrations (AIRV of arc24). View v is a function of
    (seed, task, v). So a larger `count` adds views without changing the others, and the views v of
    all tests of a task show the same demonstrations.

    Args:
        task: The task.
        test: Number of the test.
        count: Number of views.
        background: Probability that a permutation of the colors moves color 0 too.
        seed: The experiment's seed.
    """
    purpose = f"predict/{task.id}"
    words = randomness.words(seed, f"{purpose}/colors", 0, count, COLORS + 1)
    colors = transforms.color_maps(words[:, 1:], randomness.uniform(words[:, 0]) < background)
    orders = np.argsort(
        randomness.words(seed, f"{purpose}/order", 0, count, len(task.train)), axis=1, kind="stable"
    )
    colors[0], orders[0] = np.arange(COLORS), np.arange(len(task.train))
    return [
        View(
            task,
            test,
            view,
            transforms.Transform(view % transforms.SYMMETRIES, tuple(colors[view].tolist())),
            tuple(orders[view].tolist()),
        )
        for view in range(count)
    ]
