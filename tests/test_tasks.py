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
from tests.values import content, pair, value

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
