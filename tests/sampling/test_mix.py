import numpy as np
import pytest

from arcmix import tasks
from arcmix.config import origins, params
from arcmix.sampling import mix
from tests.arc import component, task

DRAWN = np.array([0, 4, 3, 1, 1, 3, 4, 2, 4, 0, 1, 3])
"""Entries of 12 samples: 5 samples have one of the first two entries, 7 have another."""


def test_a_component_with_a_split_has_the_tasks_of_this_split(tmp_path):
    every = [task("a", split="evaluation"), task("a"), task("b")]
    tasks.write(tmp_path / "arc-2.parquet", every)

    def ids(split):
        one = params.Component.model_validate(component("arc-2", split=split))
        [(table, found)] = mix.read_tables({"x": one}, tmp_path, tmp_path)
        return table, [(each.split, each.id) for each in found]

    assert ids("training") == ("arc-2", [("training", "a"), ("training", "b")])
    assert len(ids("all")[1]) == 3
    with pytest.raises(ValueError, match=r"table arc-2: 'test' is not one of \['all', 'evaluation"):
        ids("test")


def test_a_task_with_three_tests_is_one_entry_or_three():
    whole = task(test=3)
    assert len(mix.part("a", [whole], per_test=False, weight=1, digest="").entries) == 1
    split = mix.part("a", [whole], per_test=True, weight=1, digest="")
    assert [entry.test for entry in split.entries] == [(test,) for test in whole.test]
    assert all(entry.train == whole.train for entry in split.entries)
    assert split.tasks == 1


def test_a_pass_draws_each_entry_weight_times():
    light = mix.part("a", [task("a"), task("b")], per_test=False, weight=1, digest="")
    heavy = mix.part("b", [task("c")], per_test=False, weight=3, digest="")
    assert mix.slots([light, heavy]) == [0, 1, 2, 2, 2]


def test_the_summary_counts_tasks_and_entries():
    parts = [
        mix.part("new-train", [task("a"), task("b")], per_test=False, weight=1, digest=""),
        mix.part("concept-arc", [task("c", test=3)], per_test=True, weight=2, digest=""),
    ]
    found = mix.summary(parts, DRAWN, uses_validation=False)
    assert (found["tasks"], found["entries"], found["samples"]) == (3, 5, 12)
    assert found["uses_validation_demonstrations"] is False
    assert [one["samples"] for one in found["components"]] == [5, 7]


@pytest.mark.parametrize(
    ("found", "uses"),
    [
        pytest.param({"similar": 0, "dropped": []}, False, id="clean"),
        pytest.param({"similar": 0, "dropped": ["a"]}, False, id="of-the-same-name"),
        pytest.param({"similar": 1, "dropped": ["a"]}, False, id="dropped"),
        pytest.param({"similar": 1, "dropped": []}, True, id="left-in"),
    ],
)
def test_training_uses_validation_if_similar_pairs_are_not_dropped(found, uses):
    clean = {"similar": 0, "dropped": []}
    assert bool(mix.uses_validation({"components": [clean, found]})) is uses


def test_part_rejects_an_empty_table():
    with pytest.raises(ValueError, match="no tasks in table 'mini-arc'"):
        mix.part("mini-arc", [], per_test=True, weight=1, digest="")


def test_dropped_rejects_the_audit_of_another_dataset():
    audit = {"components": [{"table": "train", "dropped": ["a"]}]}
    assert mix.dropped(audit, ["train"]) == [{"a"}]
    with pytest.raises(
        ValueError,
        match=r"the tables \['train'\], but the dataset has the tables \['new-train'\]",
    ):
        mix.dropped(audit, ["new-train"])


def test_samples_and_epochs_are_counted_by_component():
    parts = [
        mix.part("new-train", [task("a"), task("b")], per_test=False, weight=1, digest=""),
        mix.part("concept-arc", [task("c", test=3)], per_test=True, weight=2, digest=""),
    ]
    drawn = mix.summary(parts, DRAWN, uses_validation=False)
    assert mix.seen(drawn, np.array([0, 4, 1, 0, 2])) == [
        {"table": "new-train", "samples": 3, "epochs": 1.5},
        {"table": "concept-arc", "samples": 2, "epochs": 2 / 3},
    ]
    assert [one["samples"] for one in mix.seen(drawn, np.zeros(0, np.int64))] == [0, 0]


def test_components_of_sources_without_a_digest_are_noted():
    parts = [
        mix.part(name, [task("a")], per_test=False, weight=1, digest="")
        for name in ("own", "pinned", "new-train")
    ]
    found = mix.summary(parts, np.array([0, 1, 2]), uses_validation=False)
    own = origins.FolderSource(kind="folder", path="x")
    sources = {"own": own, "pinned": own.model_copy(update={"digest": "0" * 64})}

    noted = mix.pinned(found, sources)["components"]

    assert [one.get("pinned") for one in noted] == [False, None, None]
