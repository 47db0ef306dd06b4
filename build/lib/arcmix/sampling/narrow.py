"""The part of a task table that a component uses: a selection of tasks, examples and tests.

The selection ranks tasks by a random key that depends on the task, not on its position. So a
smaller selection is a subset of each larger one, and other tasks in the table do not matter. A
sweep over the number of tasks or examples therefore only adds data and never replaces any.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Literal, TypeVar

from arcmix import randomness
from arcmix.config.params import Component
from arcmix.tasks import Task

T = TypeVar("T")


def narrow(found: Sequence[Task], component: Component, seed: int) -> list[Task]:
    """Return the tasks that a component uses, in the order of its table.

    Args:
        found: Tasks of the table.
        component: The component. Its settings are applied in this order: `subset`, `hardest`,
            `variations`, `pool`, `examples`, `n_minus`.
        seed: The experiment's seed.

    Raises:
        ValueError: If the table has fewer tasks than `subset`, or `hardest` is set but the tasks
            have no difficulty.
    """
    kept = subset(found, component.subset, seed, component.tasks)
    kept = hardest(kept, component.hardest, component.tasks)
    kept = _least(kept, _name, lambda task: _key(task, "variations", seed), component.variations)
    kept = pools(kept) if component.pool else kept
    kept = [examples(task, component.examples, seed) for task in kept]
    return [left for task in kept for left in leave_out(task, component.n_minus)]


def subset(found: Sequence[Task], amount: int | str, seed: int, table: str) -> list[Task]:
    """Return a number of tasks, or a share such as "20%", with all their variations.

    Raises:
        ValueError: If the table has fewer tasks than `amount`.
    """
    if amount == "all":
        return list(found)
    keys = {_name(task): _key(replace(task, variation=0), "subset", seed) for task in found}
    if isinstance(amount, str):
        amount = _part(amount, len(keys))
    if amount > len(keys):
        raise ValueError(
            f"cannot select {amount} tasks, as table {table!r} has only {len(keys)};"
            ' set the component\'s subset to fewer, to a share such as "20%" or to all'
        )
    kept = set(sorted(keys, key=keys.__getitem__)[:amount])
    return [task for task in found if _name(task) in kept]


def hardest(found: Sequence[Task], share: str, table: str) -> list[Task]:
    """Return the variations of each task with the highest PSO-difficulty, a share such as "50%".

    Raises:
        ValueError: If a task has no difficulty.
    """
    if share == "all":
        return list(found)
    ranks: dict[Hashable, list[float]] = {}
    for task in found:
        if task.pso is None:
            raise ValueError(
                f"the tasks of table {table!r} have no difficulty, which only generators measure;"
                " set the component's hardest to all"
            )
        ranks.setdefault(_name(task), []).append(task.pso)
    least = {name: sorted(pso)[-_part(share, len(pso))] for name, pso in ranks.items()}
    return [task for task in found if task.pso is not None and task.pso >= least[_name(task)]]


def pools(found: Iterable[Task]) -> list[Task]:
    """Merge the variations of each task: the pairs of the others become tests of the first.

    With `augment.swap`, a sample then has one test and as many demonstrations as the first
    variation, drawn from the pairs of all variations
    (arc24 `create_random_task_from_task_without_test`).
    """
    variations: dict[Hashable, list[Task]] = {}
    for task in found:
        variations.setdefault(_name(task), []).append(task)
    return [
        replace(
            first, test=(*first.test, *(pair for task in rest for pair in task.train + task.test))
        )
        for first, *rest in variations.values()
    ]


def examples(task: Task, count: int | Literal["all"], seed: int) -> Task:
    """Return a task with at most `count` of its demonstrations, in their order."""
    if count == "all":
        return task
    keys = randomness.words(seed, f"examples/{_path(task)}", 0, 1, len(task.train))[0].tolist()
    numbers = _least(range(len(task.train)), lambda _: None, keys.__getitem__, count)
    return replace(task, train=tuple(task.train[number] for number in numbers))


def leave_out(task: Task, count: int) -> list[Task]:
    """Return the task itself with 0, or its leave-one-out tasks with 1 or 2.

    With 1, each demonstration in turn becomes the only test, and the tests of the task are
    dropped. With 2, the same is also done with each resulting task. A task that would have no
    demonstration is left out (arc24 `create_n_minus_1`, n-1 and n-2).
    """
    if count == 0:
        return [task]
    one = _each_left_out(task)
    return one if count == 1 else one + [two for less in one for two in _each_left_out(less)]


def _each_left_out(task: Task) -> list[Task]:
    if len(task.train) == 1:
        return []
    return [
        replace(task, train=task.train[:number] + task.train[number + 1 :], test=(pair,))
        for number, pair in enumerate(task.train)
    ]


def _least(
    items: Sequence[T],
    group: Callable[[T], Hashable],
    key: Callable[[T], float],
    count: int | Literal["all"],
) -> list[T]:
    """Return the `count` items of each group with the smallest keys, in their order."""
    if count == "all":
        return list(items)
    groups: dict[Hashable, list[int]] = {}
    for place, item in enumerate(items):
        groups.setdefault(group(item), []).append(place)
    kept = [
        place
        for places in groups.values()
        for place in sorted(places, key=lambda place: key(items[place]))[:count]
    ]
    return [items[place] for place in sorted(kept)]


def _part(share: str, whole: int) -> int:
    return max(1, round(float(share.removesuffix("%")) / 100 * whole))


def _name(task: Task) -> tuple[str, str, str]:
    return task.source, task.split, task.id


def _path(task: Task) -> str:
    return "/".join((*_name(task), str(task.variation)))


def _key(task: Task, purpose: str, seed: int) -> int:
    return int(randomness.words(seed, f"{purpose}/{_path(task)}", 0, 1, 1)[0, 0])
