"""The shapes in which parsed JSON holds tasks; its content tells which one it is.

- `{"train": [PAIR, ...], "test": [PAIR, ...]}`: a task, as in ARC.
- `{"examples": [PAIR, ...]}`: a task whose last pair is the test, as in BARC.
- `[PAIR, ...]`: draws of one rule, as RE-ARC and ARC-GEN write them. A setting says how many pairs
  make a task; each task is a variation.
- `{ID: TASK, ...}`, where a task has one of the shapes above.
- `[TASK, ...]`, where a task is a map that may hold its id.

A pair is `{"input": GRID, "output": GRID}` or `[GRID, GRID]`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Found = tuple[str, Any]
"""Id of a task, and its JSON as `parsing.Value` has it."""

IDS = ("id", "task_id")
"""Names under which a task in a list may hold its id."""

SHAPES = (
    "a map with train and test, a map with examples, a list of pairs with input and output, a map"
    " from ids to these, or a list of maps of these shapes"
)


def read(value: object, name: str, examples: int | None) -> Iterator[Found]:
    """Yield the tasks in parsed JSON.

    Args:
        value: The parsed JSON.
        name: Id of the task if there is only one, and start of the ids of tasks without any.
        examples: Number of pairs of each task in a list of pairs; None if not stated.

    Raises:
        ValueError: If the shape is not known, or is a list of pairs and `examples` is None.
    """
    if _is_task(value):
        yield name, _task(value, examples)
    elif isinstance(value, Mapping) and value and all(map(_is_task, value.values())):
        yield from ((str(id_), _task(one, examples)) for id_, one in value.items())
    elif isinstance(value, list) and value and all(_is_record(one) for one in value):
        for number, one in enumerate(value):
            yield record_id(one, f"{name}-{number:06}"), _task(one, examples)
    else:
        raise ValueError(f"its content is none of the shapes of tasks: {SHAPES}")


def record_id(record: object, default: str) -> str:
    """Return the id that a record holds, or a default."""
    found = record if isinstance(record, Mapping) else {}
    return next((str(found[name]) for name in IDS if name in found), default)


def _is_record(value: object) -> bool:
    return isinstance(value, Mapping) and any(
        isinstance(value.get(name), list) for name in ("train", "examples")
    )


def _is_task(value: object) -> bool:
    return _is_record(value) or _is_draws(value)


def _is_draws(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, Mapping) and {"input", "output"} <= {*one} for one in value)
    )


def _task(value: Any, examples: int | None) -> Any:  # noqa: ANN401
    """Return a task as it is, or pairs as a tuple of tasks."""
    if isinstance(value, Mapping) and isinstance(value.get("train"), list):
        return value
    if isinstance(value, Mapping):
        return _drawn(value["examples"], examples or len(value["examples"]))
    if examples is None:
        raise ValueError(
            f"it is a list of {len(value)} pairs of one rule; set examples of the source to the"
            " number of pairs of a task, such as 4"
        )
    return _drawn(value, examples)


def _drawn(pairs: Sequence[Any], size: int) -> tuple[dict[str, Any], ...]:
    """Return each `size` pairs as a task whose last pair is the test.

    Pairs that are left over at the end are dropped. If there are fewer than `size`, all of them
    are one task.
    """
    named = [
        {"input": pair[0], "output": pair[1]} if isinstance(pair, list) and len(pair) == 2 else pair
        for pair in pairs
    ]
    size = max(1, min(size, len(named)))
    parts = (named[start : start + size] for start in range(0, len(named) - size + 1, size))
    return tuple({"train": part[:-1], "test": part[-1:]} for part in parts)
