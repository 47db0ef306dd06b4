import re
from collections import Counter

import pytest

from arcmix import tasks
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
    digest = tasks.digest(tasks.parse(changed, "mini", 30)[0])

    with pytest.raises(ValueError, match=f"found 3 tasks, 3 tests, digest {digest}"):
        pins.verified("mini", changed, entry(), "here")
