"""Tasks as JSON, and tasks as values that can be compared."""

from typing import Any

from arcmix.tasks import Task


def content(task: Task) -> tuple[object, ...]:
    """Return a task as values that can be compared."""
    shown = [
        [(pair.input.tolist(), pair.output.tolist()) for pair in side]
        for side in (task.train, task.test)
    ]
    return (task.id, task.source, task.split, task.variation, task.group, *shown)


def pair(side: Any = None) -> dict[str, Any]:
    """Return a JSON pair of two different grids that are not square, or of one grid twice."""
    return {"input": side or [[1, 2, 3], [4, 5, 6]], "output": [[0, 9]]}


def value(**changes: Any) -> dict[str, Any]:
    """Return a JSON task."""
    return {"train": [pair(), pair()], "test": [pair()]} | changes
