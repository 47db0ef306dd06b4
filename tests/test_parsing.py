import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from arcmix import parsing
from tests.values import content, pair, value

grids = st.tuples(st.integers(1, 4), st.integers(1, 7)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 9))
)


@given(grid=grids)
def test_as_grid_keeps_rows_and_columns(grid: np.ndarray) -> None:
    found = parsing.as_grid(grid.tolist(), max_side=7)

    np.testing.assert_array_equal(found, grid)
    assert found.dtype == np.uint8


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param([], "a grid is not a list of non-empty rows", id="empty"),
        pytest.param([[], []], "a grid is not a list of non-empty rows", id="empty-rows"),
        pytest.param([[1], 2], "a grid is not a list of non-empty rows", id="no-row"),
        pytest.param(3, "a grid is not a list of non-empty rows", id="number"),
        pytest.param("12", "a grid is not a list of non-empty rows", id="text"),
        pytest.param(
            [[1, 2], [3]], "the rows of a grid differ in width, got widths [1, 2]", id="ragged"
        ),
        pytest.param([[1, 2.0]], "a color is not an integer", id="float"),
        pytest.param([[1, True]], "a color is not an integer", id="bool"),
        pytest.param([[1, "2"]], "a color is not an integer", id="digit"),
        pytest.param([[0, 10, -1]], "a color is outside 0-9, got [-1, 10]", id="colors"),
        pytest.param([[0] * 31], "a side is longer than 30, got shape (1, 31)", id="wide"),
        pytest.param([[0]] * 31, "a side is longer than 30, got shape (31, 1)", id="tall"),
    ],
)
def test_as_grid_rejects(rows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parsing.as_grid(rows, max_side=30)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        pytest.param([], "a task has no train pairs", id="list"),
        pytest.param(value(train=[]), "a task has no train pairs", id="no-train"),
        pytest.param({"train": [pair()]}, "a task has no test pairs", id="no-test"),
        pytest.param(value(test=5), "a task has no test pairs", id="number"),
        pytest.param(
            value(test=[{"input": [[1]]}]),
            "a test pair lacks its input or its output",
            id="no-output",
        ),
        pytest.param(
            value(train=["input"]), "a train pair lacks its input or its output", id="text"
        ),
        pytest.param(
            value(test=[pair([[1], [2, 3]])]), "the rows of a grid differ in width", id="grid"
        ),
    ],
)
def test_as_task_rejects(task: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parsing.as_task("a", task, source="arc", split="training", variation=0, max_side=30)


def test_as_task_ignores_other_keys() -> None:
    named = value(uuid="1", name="bars") | {"train": [pair() | {"metadata": {}}, pair()]}

    found = parsing.as_task("a", named, source="arc", split="training", variation=3, max_side=30)

    plain = parsing.as_task("a", value(), source="arc", split="training", variation=3, max_side=30)
    assert content(found) == content(plain)
    assert found.cells == 3 * (6 + 2)


def test_parse_counts_rejected_tasks_by_reason() -> None:
    found, rejects = parsing.parse(
        [
            ("d", "training", None, value()),
            ("a", "training", None, value(test=[pair([[1], [2, 3]])])),
            ("b", "training", None, value(train=[pair([[1, 2], [3]])])),
            ("c", "evaluation", None, value(test=[pair([[0] * 9])])),
            ("c", "training", None, value()),
        ],
        "arc",
        max_side=8,
    )

    assert [(task.split, task.id) for task in found] == [("training", "c"), ("training", "d")]
    assert rejects == {"the rows of a grid differ in width": 2, "a side is longer than 8": 1}


@pytest.mark.parametrize(
    ("id_", "group"),
    [
        ("..", None),
        (".hidden", None),
        ("../a", None),
        ("a/b", None),
        ("a\nb", None),
        ("a\udcff", None),
        ("<script>", None),
        ("a|b", None),
        ("-r", None),
        ("a" * 201, None),
        ("", None),
        ("a", "easy/.."),
        ("a", "easy, too"),
    ],
)
def test_parse_rejects_names_that_do_not_fit_into_paths_and_tables(
    id_: str, group: str | None
) -> None:
    values = [(id_, "training", group, value()), ("Ab_1.c-2", "training", "x/y", value())]

    found, rejects = parsing.parse(values, "arc", max_side=30)

    assert [(task.id, task.group) for task in found] == [("Ab_1.c-2", "x/y")]
    reason = "an id or a group has characters other than letters or digits or ._-"
    assert rejects == {reason: 1}


def test_parse_rejects_two_tasks_with_the_same_id_in_a_split() -> None:
    with pytest.raises(ValueError, match="two tasks of arc, split training, have the id 'a'"):
        parsing.parse(
            [("a", "training", None, value()), ("a", "training", None, value())], "arc", max_side=30
        )


def test_parse_accepts_the_same_id_in_two_splits() -> None:
    values = [("a", "training", None, value()), ("a", "evaluation", None, value())]

    found, _ = parsing.parse(values, "arc", max_side=30)

    assert [task.split for task in found] == ["evaluation", "training"]
