import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from arcmix import parsing, tasks
from arcmix.config import origins
from arcmix.sources import folder, pins
from tests.archives import task

PAIRS = [{"input": [[number, 0]], "output": [[0], [number]]} for number in range(6)]


def load(root: Path, path: str = "own", **settings: Any) -> pins.Loaded:
    source = origins.FolderSource.model_validate_json(
        json.dumps({"kind": "folder", "path": path} | settings)
    )
    return folder.load("own", source, root)


def write(root: Path, content: dict[str, Any]) -> None:
    """Write files below the folder `own`: JSON, lines of JSON, or bytes."""
    for name, value in content.items():
        path = root / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(value, bytes):
            path.write_bytes(value)
        elif path.suffix == ".jsonl":
            path.write_text("".join(f"{json.dumps(line)}\n" for line in value))
        else:
            path.write_text(json.dumps(value))


def hidden(one: dict[str, Any]) -> dict[str, Any]:
    return one | {"test": [{"input": pair["input"]} for pair in one["test"]]}


def outputs(one: dict[str, Any]) -> list[Any]:
    return [pair["output"] for pair in one["test"]]


SHAPES = {
    "one file a task": {"a.json": task(1), "deeper/b.json": task(2), "README.md": b"# no task"},
    "a dict of tasks": {"all.json": {"a": task(1), "b": task(2)}},
    "JSON lines": {"all.jsonl": [task(1) | {"id": "a"}, task(2) | {"id": "b"}]},
    "a list of tasks": {"all.json": [task(1) | {"task_id": "a"}, task(2) | {"task_id": "b"}]},
    "a pair of Kaggle": {
        "arc-agi_training_challenges.json": {"a": hidden(task(1)), "b": hidden(task(2))},
        "arc-agi_training_solutions.json": {"a": outputs(task(1)), "b": outputs(task(2))},
    },
    "examples, as BARC": {
        name: {"examples": [*one["train"], *one["test"]]}
        for name, one in {"a.json": task(1), "b.json": task(2)}.items()
    },
    "two shapes": {"a.json": task(1), "b.jsonl": [task(2) | {"id": "b"}], ".hidden.json": b"?"},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_has_the_same_tasks(tmp_path: Path, shape: str) -> None:
    write(tmp_path, SHAPES[shape])
    values = [(name, "training", None, task(color)) for name, color in (("a", 1), ("b", 2))]
    expected = tasks.digest(parsing.parse(values, "own", 30)[0])

    found = load(tmp_path)

    assert tasks.digest(found.tasks) == expected
    assert {(one.source, one.split, one.group) for one in found.tasks} == {
        ("own", "training", None)
    }
    assert not found.rejects
    assert found.origin == str(tmp_path / "own")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_zip_file_is_read_as_a_folder(tmp_path: Path, shape: str) -> None:
    write(tmp_path, SHAPES[shape])
    unpacked = tasks.digest(load(tmp_path).tasks)
    with zipfile.ZipFile(tmp_path / "own.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("__MACOSX/._a.json", b"?")
        for name in SHAPES[shape]:
            packed.write(tmp_path / "own" / name, f"top/{name}")

    assert tasks.digest(load(tmp_path, "own.zip").tasks) == unpacked
    assert tasks.digest(load(tmp_path, f"{tmp_path}/own.zip").tasks) == unpacked


def test_lists_of_pairs_are_variations_of_their_rule_as_re_arc_draws_them(tmp_path: Path) -> None:
    write(tmp_path, {"tasks/a.json": PAIRS, "tasks/b.json": PAIRS[:5]})

    found = load(tmp_path, examples=3).tasks

    assert [(one.id, one.variation, len(one.train), len(one.test)) for one in found] == [
        ("a", 0, 2, 1),
        ("a", 1, 2, 1),
        ("b", 0, 2, 1),
    ]
    assert [int(one.test[0].input[0, 0]) for one in found] == [2, 5, 2]


def test_a_list_of_pairs_without_the_setting_is_an_error_that_names_the_file(
    tmp_path: Path,
) -> None:
    write(tmp_path, {"tasks/a.json": PAIRS})

    with pytest.raises(ValueError, match=rf"^{tmp_path}/own/tasks/a.json: it is a list of 6 pairs"):
        load(tmp_path)


def test_patterns_choose_files_and_name_splits_and_groups(tmp_path: Path) -> None:
    write(
        tmp_path, {"easy/x/a.json": task(1), "hard/a.json": task(2), "about.json": {"no": "task"}}
    )
    splits = {"training": ["easy/*/*.json"], "evaluation": ["hard/*.json"]}

    found = load(tmp_path, files=splits).tasks

    assert [(one.split, one.id, one.group) for one in found] == [
        ("evaluation", "a", None),
        ("training", "a", "x"),
    ]
    with pytest.raises(ValueError, match=r"own/about.json: its content is none of the shapes of t"):
        load(tmp_path)


def test_a_relative_path_starts_at_the_repository_and_an_error_names_the_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, SHAPES["one file a task"])
    (tmp_path / "queued").mkdir()
    monkeypatch.chdir(tmp_path / "queued")

    assert len(load(tmp_path).tasks) == 2
    with pytest.raises(OSError, match=f"sources.own.path: nowhere is {tmp_path}/nowhere, which do"):
        load(tmp_path, "nowhere")
    with pytest.raises(OSError, match=f"{tmp_path}/queued has no file of the types .json, .jsonl,"):
        load(tmp_path, "queued")


def test_a_task_that_is_none_is_rejected_and_counted(tmp_path: Path) -> None:
    wide = {"train": [{"input": [[0] * 31], "output": [[1]]}], "test": task(1)["test"]}
    write(tmp_path, {"a.json": task(1), "b.json": wide})

    assert load(tmp_path).rejects == {"a side is longer than 30": 1}
    assert not load(tmp_path, max_side=31).rejects


def test_a_folder_without_a_good_task_is_an_error_that_says_why(tmp_path: Path) -> None:
    write(tmp_path, {"a.json": {"train": [], "test": []}})

    with pytest.raises(ValueError, match="own has no task; rejected: 1 x 'a task has no train pai"):
        load(tmp_path)


def test_what_is_pinned_is_verified(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    write(tmp_path, {"a.json": task(1)})
    digest = tasks.digest(load(tmp_path).tasks)

    assert caplog.messages == [
        f"own: not pinned; found 1 tasks, 1 tests, digest {digest}; to pin it: make pin SOURCE=own"
    ]
    assert load(tmp_path, tasks=1, tests=1, digest=digest).tasks
    assert len(caplog.messages) == 1
    message = rf"expected 2 tasks; found 1 tasks, 1 tests, digest {digest}.*make pin SOURCE=own$"
    with pytest.raises(ValueError, match=message):
        load(tmp_path, tasks=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param({"a.json": b"{"}, r"own/a\.json: not valid JSON", id="damaged JSON"),
        pytest.param({"a.json": b"\xff"}, r"own/a\.json: not valid JSON", id="no text"),
        pytest.param({"a.json": b"[" * 10**5}, r"own/a\.json: not valid JSON", id="deep"),
        pytest.param({"a.jsonl": b"{}\n"}, r"a\.jsonl: its content is none", id="no task"),
        pytest.param({"a.jsonl": b"\n[1\n"}, r"a\.jsonl: line 2: not valid JSON", id="line"),
        pytest.param({"a.zip": b"PK"}, r"own/a\.zip is damaged", id="damaged zip"),
        pytest.param(
            {"x_challenges.json": {"a": hidden(task(1))}},
            "task 'a' has 1 tests without outputs, and no solutions; put .* make answer",
            id="no solutions",
        ),
        pytest.param(
            {"x_challenges.json": {"a": hidden(task(1))}, "x_solutions.json": {"a": []}},
            "task 'a' has 1 tests without outputs, and 0 solutions",
            id="too few solutions",
        ),
        pytest.param({"x_solutions.json": {"a": [[[1]]]}}, "none of the shapes", id="solutions"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_it(
    tmp_path: Path, content: dict[str, Any], message: str
) -> None:
    write(tmp_path, content)

    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_sizes_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"a.json": task(1), "b.json": task(2)})
    with zipfile.ZipFile(tmp_path / "big.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.json", b" " * 10**6)
    size = (tmp_path / "own/a.json").stat().st_size
    for name, limit, path, message in (
        ("MAX_FILE", 999, "big.zip", "big.zip/a.json: the file, or a line of it, has "),
        (
            "MAX_FILE",
            size - 1,
            "own",
            "own/a.json: the file, or a line of it, has ",
        ),
        ("MAX_TOTAL", 2 * size - 1, "own", "own/b.json: the files have more than the allowed"),
        ("MAX_FILES", 1, "own", "own has more than the allowed 1 files"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(folder, name, limit)
            with pytest.raises(ValueError, match=message):
                load(tmp_path, path)
    assert len(load(tmp_path).tasks) == 2
