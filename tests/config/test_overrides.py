import copy
import io
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

    def changed(self, now: dict[str, Any], *ran: dict[str, Any], **named: Any) -> list[str]:
        """Return what changed since stages ran with some values, some of them by name."""
        YAML().dump(now, self.params)
        ran_by_name = {f"s{number}": one for number, one in enumerate(ran)} | named
        stages = {name: {"params": {"params.yaml": one}} for name, one in ran_by_name.items()}
        YAML().dump({"schema": "2.0", "stages": {"plain": {"cmd": "true"}, **stages}}, self.lock)
        return overrides.changed(self.params, self.lock)

    def put_back(self, now: dict[str, Any], before: dict[str, Any]) -> list[str]:
        """Apply the overrides that lead back to the values of the last run, and return them."""
        YAML().dump(before, committed := io.StringIO())
        self.changed(now, record=before)
        found = overrides.changed(self.params, self.lock, committed.getvalue())
        apply_overrides(self.params, shlex.split(" ".join(found)))
        assert YAML(typ="safe").load(self.params) == before
        return found


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
    assert files.changed(now, {"dataset": "train"}, {"dataset": "nope"}) == ["dataset=train"]


def test_the_values_of_the_record_are_those_of_the_last_whole_run(files: Files) -> None:
    failed, whole = {"dataset": "earlier-typo"}, {"dataset": "train"}
    now = VALUES | {"dataset": "typo"}
    assert files.changed(now, failed, record=whole) == ["dataset=train"]
    assert files.changed(VALUES, failed, record=whole) == []


def test_a_source_that_is_gone_has_no_value_of_the_last_run(files: Files) -> None:
    gone = {"dataset": "earlier", "sources.gone": {"kind": "folder"}}
    assert files.changed(VALUES, **{"download@gone": gone}) == []
    kept = {"dataset": "earlier", "datasets.train": VALUES["datasets"]["train"]}
    assert files.changed(VALUES, **{"download@kept": kept}) == ["dataset=earlier"]


def test_values_without_a_counterpart_are_left_out(files: Files) -> None:
    ran = {"gone": 1, "datasets.train": {"train": {"weight": 2}}, "init": VALUES["init"]}
    assert files.changed(VALUES, ran) == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("lerning_rate", 0.1),
        ("init.adaptor", "none"),
        ("datasets.train.train.weigth", 2),
        ("datasets.train.trian", {}),
        ("predikt", {"views": 3, "limits": {"low": 1}}),
        ("init.limts", {"low": {"x": 1, "y": 2}}),
    ],
)
def test_an_added_value_or_section_is_removed(files: Files, place: str, value: object) -> None:
    now = copy.deepcopy(VALUES)
    *sections, name = place.split(".")
    section = now
    for one in sections:
        section = section[one]
    section[name] = value
    assert len(files.put_back(now, VALUES)) == 1


def test_a_misspelt_name_is_removed_and_the_right_one_is_back(files: Files) -> None:
    now = copy.deepcopy(VALUES)
    now["datset"] = now.pop("dataset")
    now["init"]["rat"] = now["init"].pop("rate")
    found = files.put_back(now, VALUES)
    assert found == ["'~datset'", "'~init.rat'", "++dataset=train", "++init.rate=0.1"]
    YAML().dump(VALUES, committed := io.StringIO())
    # A name that is gone since a stage ran, with the code that read it, does not come back.
    assert "++gone=1" not in overrides.changed(files.params, files.lock, "gone: 1")
    files.changed(VALUES, record=VALUES | {"gone": 1})
    assert overrides.changed(files.params, files.lock, committed.getvalue()) == []


@pytest.mark.parametrize("value", [7, None, [], [1], "none"])
@pytest.mark.parametrize("place", ["init", "init.limits"])
def test_a_section_that_became_a_value_is_back_with_its_values(
    files: Files, place: str, value: object
) -> None:
    limits = {"low": 0.1, "code-block": [1, "a b"], "nested": {"on": True, "text": "it's {1}: 2"}}
    whole = VALUES | {"init": VALUES["init"] | {"limits": limits}}
    now = copy.deepcopy(whole)
    section, _, name = place.rpartition(".")
    (now[section] if section else now)[name] = value
    found = files.changed(now, record=whole)
    assert len(found) == (2 if isinstance(value, list) else 1)
    apply_overrides(files.params, shlex.split(" ".join(found)))
    assert YAML(typ="safe").load(files.params) == whole


@pytest.mark.parametrize("place", ["init", "init.limits"])
def test_a_section_that_was_removed_is_back(files: Files, place: str) -> None:
    whole = VALUES | {"init": VALUES["init"] | {"limits": {"low": 0.1, "deep": {"er": [1]}}}}
    now = copy.deepcopy(whole)
    section, _, name = place.rpartition(".")
    del (now[section] if section else now)[name]
    assert len(files.put_back(now, whole)) == 1


def test_the_values_of_a_section_that_became_empty_are_back(files: Files) -> None:
    found = files.put_back(VALUES | {"init": {}}, VALUES)
    assert len(found) == len(VALUES["init"])


def test_a_new_section_of_the_user_stays(files: Files) -> None:
    now = VALUES | {"datasets": VALUES["datasets"] | {"mine": {"train": {"weight": 2}}}}
    assert files.changed(now, record=VALUES) == []


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
