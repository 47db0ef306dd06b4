import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from arcmix import parsing, tasks
from arcmix.tasks import Pair, Task
from tests import arc

grids = st.tuples(st.integers(1, 4), st.integers(1, 7)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 9))
)
pairs = st.lists(st.builds(Pair, grids, grids), min_size=1, max_size=3).map(tuple)
names = st.text(st.characters(codec="utf-8"), max_size=5)
ids = st.from_regex(tasks.NAME, fullmatch=True)
task_lists = st.lists(
    st.builds(
        Task,
        ids,
        names,
        names,
        st.integers(0, 2**31 - 1),
        pairs,
        pairs,
        group=st.none() | ids,
    ),
    max_size=4,
    unique_by=lambda task: (task.id, task.source, task.split, task.variation),
)


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


@given(found=task_lists)
def test_read_is_the_inverse_of_write(
    found: list[Task], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("tasks") / "tasks.parquet"

    tasks.write(path, found)

    again = tasks.read(path)
    assert [content(task) for task in again] == [content(task) for task in found]
    assert all(
        grid.dtype == np.uint8 for task in again for p in task.test for grid in vars(p).values()
    )


def test_write_gives_equal_bytes_for_equal_tasks(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    found, _ = parsing.parse([("a", "training", None, value())], "arc", max_side=30)

    tasks.write(first, found)
    tasks.write(second, found)

    assert first.read_bytes() == second.read_bytes()


def test_grids_of_a_table_may_have_more_cells_than_int32_counts(tmp_path: Path) -> None:
    assert pa.large_list(pa.uint8()) == tasks.GRID
    assert tasks.ragged([np.zeros(2, np.uint8)]).type == tasks.GRID
    tasks.write(tmp_path / "tasks.parquet", [arc.task("a")])
    assert pq.read_table(tmp_path / "tasks.parquet")["input"].type == tasks.GRID


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"variation": 2**31}, id="variation"),
        pytest.param({"test": (Pair(*[np.zeros((256, 1), np.uint8)] * 2),)}, id="side"),
    ],
)
def test_a_number_that_its_column_cannot_hold_is_an_error(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"too large to fit|not in range"):
        tasks.write(tmp_path / "tasks.parquet", [replace(arc.task("a"), **changes)])
    assert [*tmp_path.iterdir()] == []


def test_read_rejects_another_table(tmp_path: Path) -> None:
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"task": ["a"]}), path)

    with pytest.raises(
        ValueError, match=r"other.parquet: not a task table: .* found \['task'\]; run"
    ):
        tasks.read(path)


@given(found=task_lists, random=st.randoms())
def test_digest_does_not_depend_on_the_order_of_the_tasks(found: list[Task], random: Any) -> None:
    shuffled = random.sample(found, len(found))

    assert tasks.digest(shuffled) == tasks.digest(found)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(("b", "training", None, value()), id="id"),
        pytest.param(("a", "evaluation", None, value()), id="split"),
        pytest.param(
            ("a", "training", None, value(test=[pair([[1, 2], [3, 4], [5, 6]])])), id="shape"
        ),
        pytest.param(
            ("a", "training", None, value(test=[pair([[1, 2, 3], [4, 5, 7]])])), id="cell"
        ),
        pytest.param(("a", "training", None, value(train=[pair()])), id="pairs"),
    ],
)
def test_digest_changes_with(changed: parsing.Value) -> None:
    found, _ = parsing.parse([("a", "training", None, value())], "arc", max_side=30)
    other, _ = parsing.parse([changed], "arc", max_side=30)

    assert tasks.digest(other) != tasks.digest(found)


def test_digest_does_not_depend_on_the_group() -> None:
    found, _ = parsing.parse([("a", "training", None, value())], "arc", max_side=30)
    other, _ = parsing.parse([("a", "training", "above", value())], "arc", max_side=30)

    assert [one.group for one in (*found, *other)] == [None, "above"]
    assert tasks.digest(other) == tasks.digest(found)


def test_digest_does_not_depend_on_the_name_of_the_source() -> None:
    found, _ = parsing.parse([("a", "training", None, value())], "arc", max_side=30)
    other, _ = parsing.parse([("a", "training", None, value())], "arc-github", max_side=30)

    assert tasks.digest(other) == tasks.digest(found)


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


@given(parts=st.lists(st.lists(st.integers(0, 255), max_size=3), max_size=4))
def test_ragged_keeps_every_part(parts: list[list[int]]) -> None:
    column = tasks.ragged([np.array(part, np.uint8) for part in parts])

    assert column.to_pylist() == parts


def test_write_and_read_keep_the_difficulty(tmp_path):
    path = tmp_path / "tasks.parquet"
    tasks.write(path, [replace(arc.task("a"), rng=0.25, pso=0.5), arc.task("b")])

    assert [(one.rng, one.pso) for one in tasks.read(path)] == [(0.25, 0.5), (None, None)]


def damaged(folder: Path, column: str, row: int, value: object) -> Path:
    """Write a table of tasks with another value in one cell."""
    path = folder / "tasks.parquet"
    tasks.write(path, [arc.task("a"), arc.task("b")])
    table = pq.read_table(path)
    values = table[column].to_pylist()
    values[row] = value
    place = table.column_names.index(column)
    field = tasks.SCHEMA.field(column)
    pq.write_table(table.set_column(place, field, pa.array(values, field.type)), path)
    return path


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("task", "../a", "tasks.parquet: task: 0: String should match pattern"),
        ("task", None, "the columns ['task'] have empty cells; run: dvc repro"),
        ("group", "=cmd|x", "tasks.parquet: group: 0: String should match pattern"),
        ("role", "both", "row 5 is pair 1 of role 'both' of task 'b'; the role is train or test"),
        ("pair", 2, "row 5 is pair 2 of role 'train' of task 'b'; the role is train or test, and"),
        ("variation", -1, "variation: 0: Input should be greater than or equal to 0, got -1"),
        ("rng", float("inf"), "rng: 0: Input should be a finite number, got inf"),
        ("output_height", 9, "row 5: the output has 4 cells and the shape (9, 2); the cells have"),
        ("input", [], "row 5: the input has 0 cells and the shape (2, 3)"),
        ("input", [0, 1, 2, 3, 4, 10], "a cell of an input is empty or 10; a color is from 0 to 9"),
        ("input", [0, 1, 2, 3, 4, None], "a cell of an input is empty or"),
    ],
)
def test_read_refuses_a_damaged_cell(
    tmp_path: Path, column: str, value: object, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        tasks.read(damaged(tmp_path, column, 5, value))
