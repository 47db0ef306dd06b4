import shlex
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

from arcmix.config import overrides

VALUES = {
    "dataset": "train",
    "init": {"adapter": "none", "rate": 0.1, "targets": ["a"]},
    "datasets": {"train": {"train": {}}},
}


class Files:
    """A `params.yaml` and a `dvc.lock`."""

    def __init__(self, folder: Path) -> None:
        self.params, self.lock = folder / "params.yaml", folder / "dvc.lock"

    def changed(self, present: dict[str, Any], *ran: dict[str, Any]) -> list[str]:
        """Return what changed since stages ran with some values."""
        YAML().dump(present, self.params)
        stages = {f"s{number}": {"params": {"params.yaml": one}} for number, one in enumerate(ran)}
        YAML().dump({"schema": "2.0", "stages": {"plain": {"cmd": "true"}, **stages}}, self.lock)
        return overrides.changed(self.params, self.lock)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_values_of_the_last_run_are_not_changed(files: Files) -> None:
    assert files.changed(VALUES, {"dataset": "train"}, {"init": VALUES["init"]}) == []


def test_a_stage_that_already_ran_with_the_new_value_does_not_hide_the_old_one(
    files: Files,
) -> None:
    now = VALUES | {"dataset": "nope"}
    assert files.changed(now, {"dataset": "nope"}, {"dataset": "train"}) == ["dataset=train"]


def test_values_without_a_counterpart_are_left_out(files: Files) -> None:
    ran = {"gone": 1, "datasets.train": {"train": {"weight": 2}}, "init": {"adapter": "none"}}
    assert files.changed(VALUES, ran) == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("dataset", "combo-v2"),
        ("init.adapter", "HEAD~1"),
        ("init.adapter", "./a b/it's"),
        ("init.adapter", "20%"),
        ("init.adapter", "/x/é"),
        ("init.adapter", 'a"b'),
        ("init.adapter", "True"),
        ("init.adapter", "12"),
        ("init.rate", 1e-05),
        ("init.rate", None),
        ("init.rate", False),
        ("init.targets", ["q_proj", "1d"]),
    ],
)
def test_the_overrides_set_the_values_back(files: Files, place: str, value: object) -> None:
    found = files.changed(VALUES, {place: value})
    assert len(found) == 1
    apply_overrides(files.params, shlex.split(" ".join(found)))
    now = YAML(typ="safe").load(files.params)
    for name in place.split("."):
        now = now[name]
    assert now == value


@pytest.mark.parametrize("text", ["", "a: [", "stages: 1", "stages: {a: {params: 1}}"])
def test_a_damaged_lock_is_refused(files: Files, text: str) -> None:
    files.changed(VALUES)
    files.lock.write_text(text)
    with pytest.raises(ValueError, match=r"dvc\.lock: not as DVC writes it: (?s:.*); run: dvc"):
        overrides.changed(files.params, files.lock)
