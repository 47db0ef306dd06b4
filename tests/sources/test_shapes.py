from typing import Any

import pytest

from arcmix.sources import shapes
from tests.archives import task

PAIRS = [{"input": [[number, 0]], "output": [[0], [number]]} for number in range(5)]
LISTS = [[pair["input"], pair["output"]] for pair in PAIRS]


def drawn(*parts: list[Any]) -> tuple[dict[str, Any], ...]:
    return tuple({"train": part[:-1], "test": part[-1:]} for part in parts)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        pytest.param(task(1), {"x": task(1)}, id="a task"),
        pytest.param({"a": task(1), "b": task(2)}, {"a": task(1), "b": task(2)}, id="tasks by id"),
        pytest.param(
            [task(1), task(2) | {"id": "b"}, task(3) | {"task_id": 7}],
            {"x-000000": task(1), "b": task(2) | {"id": "b"}, "7": task(3) | {"task_id": 7}},
            id="a list of tasks",
        ),
        pytest.param(PAIRS, {"x": drawn(PAIRS[:2], PAIRS[2:4])}, id="draws, as RE-ARC"),
        pytest.param(
            {"a": PAIRS, "b": task(1)},
            {"a": drawn(PAIRS[:2], PAIRS[2:4]), "b": task(1)},
            id="draws by id",
        ),
    ],
)
def test_the_content_of_a_file_tells_its_shape(value: Any, found: dict[str, Any]) -> None:
    assert dict(shapes.read(value, "x", 2)) == found


@pytest.mark.parametrize("pairs", [PAIRS, LISTS])
def test_examples_are_one_task_as_in_barc_unless_the_setting_divides_them(pairs: Any) -> None:
    value = {"examples": pairs, "source": "print('not run')"}

    assert dict(shapes.read(value, "x", None)) == {"x": drawn(PAIRS)}
    assert dict(shapes.read([value], "x", 2)) == {"x-000000": drawn(PAIRS[:2], PAIRS[2:4])}
    assert dict(shapes.read(value, "x", 9)) == {"x": drawn(PAIRS)}


def test_a_list_of_pairs_needs_the_number_of_pairs_of_a_task() -> None:
    with pytest.raises(ValueError, match="it is a list of 5 pairs of one rule; set examples of"):
        dict(shapes.read(PAIRS, "x", None))


@pytest.mark.parametrize(
    "value",
    [None, 3, "text", [], {}, [[1, 2]], {"a": [[1]]}, {"train": 1}, [task(1), 2], {"a": {}}],
)
def test_other_content_is_an_error_that_lists_the_shapes(value: Any) -> None:
    with pytest.raises(ValueError, match="none of the shapes of tasks: a map with train and test"):
        dict(shapes.read(value, "x", 2))
