import logging
import re
from collections import Counter
from pathlib import Path

import pytest

from arcmix import parsing, tasks
from arcmix.config import origins, schema
from arcmix.sources import pins
from tests.archives import entry, task

VALUES = [
    ("b", "training", None, task(2)),
    ("a", "training", "easy", task(1)),
    ("a", "evaluation", None, task(4)),
]


def test_verified_returns_the_tasks_sorted_by_split_and_id() -> None:
    loaded = pins.verified("mini", VALUES, entry(), "here")

    assert [(found.id, found.split, found.source) for found in loaded.tasks] == [
        ("a", "evaluation", "mini"),
        ("a", "training", "mini"),
        ("b", "training", "mini"),
    ]
    assert (loaded.rejects, loaded.origin) == (Counter(), "here")


def test_verified_counts_rejects() -> None:
    ragged = task(1) | {"test": [{"input": [[1, 2], [3]], "output": [[1]]}]}

    loaded = pins.verified("mini", [*VALUES, ("c", "training", None, ragged)], entry(), "here")

    assert loaded.rejects == {"the rows of a grid differ in width": 1}


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"tasks": 4}, id="tasks"),
        pytest.param({"tests": 4}, id="tests"),
        pytest.param({"digest": "f" * 64}, id="digest"),
    ],
)
def test_verified_rejects_tasks_with_other(changed: dict[str, int | str]) -> None:
    wanted, held = entry(**changed), entry()

    message = (
        "mini from here differs from the pins in sources.mini:"
        f" expected {wanted.tasks} tasks, {wanted.tests} tests, digest {wanted.digest};"
        f" found 3 tasks, 3 tests, digest {held.digest}; rejected: none; if"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        pins.verified("mini", VALUES, wanted, "here")


def test_verified_reports_the_rejects_if_tasks_are_missing() -> None:
    with pytest.raises(ValueError, match=r"found 0 tasks, .*: 3 x 'a side is longer than 2'; if"):
        pins.verified("mini", VALUES, entry(max_side=2), "here")


def test_a_changed_color_changes_the_digest() -> None:
    changed = [("b", "training", None, task(7)), *VALUES[1:]]
    digest = tasks.digest(parsing.parse(changed, "mini", 30)[0])

    with pytest.raises(ValueError, match=f"found 3 tasks, 3 tests, digest {digest}"):
        pins.verified("mini", changed, entry(), "here")


def grids(**changed: object) -> origins.CountingSource:
    settings = {"seed": 0, "max_side": 9, "curriculum": 2, "objects": 5, "background": 0.2}
    held = {"pin": settings | {"tasks": 3, "digest": FIRST}}
    given = settings | {"kind": "counting", "tasks": 3} | held
    return origins.CountingSource.model_validate(given | changed)


TASKS = [
    parsing.as_task(str(n), task(n), source="", split="", variation=0, max_side=9) for n in range(5)
]
FIRST = tasks.digest(TASKS[:3])


@pytest.mark.parametrize("number", [3, 4])
def test_draws_that_the_pin_covers_are_verified(
    number: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    pins.verify_draws("grids", grids(tasks=number), "tasks", lambda first: TASKS[:first])
    with pytest.raises(
        ValueError,
        match=rf"grids\.pin: expected digest {FIRST} with tasks 3, found .* to null to use these",
    ):
        pins.verify_draws("grids", grids(tasks=number), "tasks", lambda first: TASKS[1 : first + 1])

    assert caplog.messages == []


@pytest.mark.parametrize(
    ("changed", "number"),
    [
        pytest.param({"tasks": 2}, 2, id="fewer tasks"),
        pytest.param({"tasks": 5, "seed": 1}, 3, id="another seed"),
        pytest.param({"objects": 6}, 3, id="another setting"),
        pytest.param({"tasks": 4, "pin": None}, 4, id="no pin"),
    ],
)
def test_draws_that_the_pin_does_not_cover_are_logged_with_their_digest(
    changed: dict[str, object], number: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    pins.verify_draws("grids", grids(**changed), "tasks", lambda first: TASKS[:first])

    digest = tasks.digest(TASKS[:number])
    message = f"grids: no pin for these settings; digest of tasks {number}: {digest}"
    assert caplog.messages == [message]


@pytest.mark.parametrize("name", ["re-arc", "count"])
def test_the_shipped_settings_of_draws_are_pinned(name: str) -> None:
    values = schema.read(Path(__file__).parents[2] / "params.yaml")["sources"][name]

    pinned = values["pin"]
    assert {key: values[key] for key in pinned if key != "digest"} == {
        key: value for key, value in pinned.items() if key != "digest"
    }
