import json
from pathlib import Path
from typing import Any

import pytest

from arcmix import tasks
from arcmix.sources import challenges
from tests.archives import task


def write(path: Path, values: Any) -> Path:
    path.write_text(json.dumps(values))
    return path


def test_tests_without_outputs_are_hidden_and_outputs_are_left_out(tmp_path: Path) -> None:
    asked = {"train": task(1)["train"], "test": [{"input": [[1, 2]]}, {"input": [[3]]}]}
    path = write(tmp_path / "x.json", {"b": asked, "a": task(2)})

    found = challenges.read(path)

    assert [(one.id, one.split, len(one.train), len(one.test)) for one in found] == [
        ("b", "test", 2, 2),
        ("a", "test", 2, 1),
    ]
    assert all(pair.is_hidden for one in found for pair in one.test)
    assert not any(pair.is_hidden for one in found for pair in one.train)
    assert found[0].test[0].input.tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"train": [], "test": [{"input": [[1]]}]}, "a task has no train pairs"),
        ({"train": task(1)["train"]}, "a task has no test pairs"),
        ({"train": task(1)["train"], "test": [{"output": [[1]]}]}, "a test pair lacks its input"),
        ({"train": task(1)["train"], "test": [{"input": [[10]]}]}, "a color is outside 0-9"),
        (3, "a task has no train pairs"),
    ],
)
def test_a_malformed_task_is_an_error_that_names_it(
    tmp_path: Path, value: Any, message: str
) -> None:
    path = write(tmp_path / "x.json", {"good": task(1), "wrong": value})

    with pytest.raises(ValueError, match=rf"^{path}: task 'wrong': {message}.*; correct the file$"):
        challenges.read(path)


def test_an_id_that_is_no_name_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"task '\.\./x': an id or a group has characters other"):
        challenges.read(write(tmp_path / "x.json", {"../x": task(1)}))


@pytest.mark.parametrize("values", [[], {}, [task(1)], "x"])
def test_another_file_is_an_error(tmp_path: Path, values: Any) -> None:
    with pytest.raises(ValueError, match=r"must map ids to tasks, got .*; take a challenges file"):
        challenges.read(write(tmp_path / "x.json", values))


def test_only_a_reader_that_expects_hidden_tests_reads_them(tmp_path: Path) -> None:
    found = challenges.read(write(tmp_path / "x.json", {"a": task(1)}))
    tasks.write(tmp_path / "a.parquet", found)

    [read] = tasks.read(tmp_path / "a.parquet", hidden=True)

    assert read.test[0].is_hidden
    assert tasks.digest([read]) == tasks.digest(found)
    with pytest.raises(ValueError, match="the output has 0 cells and the shape"):
        tasks.read(tmp_path / "a.parquet")
