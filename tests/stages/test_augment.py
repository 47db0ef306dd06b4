import json
from dataclasses import replace

import pytest

from arcmix import files, tasks
from arcmix.sampling import sample_table
from arcmix.sources import counting
from stages import augment as stage
from tests.arc import component, dataset, task
from tests.sampling.test_augment import FULL
from tests.sources.test_counting import source


def config(*components):
    return stage.Params.model_validate(
        {"seed": 0, "augment": FULL, "dataset": dataset(*components), "samples": 60}
    )


def run(tmp_path, how, dropped=()):
    audited = [
        {
            "table": one.tasks,
            "similar": 0,
            "dropped": [*dropped] if number == 0 else [],
        }
        for number, one in enumerate(how.dataset.values())
    ]
    files.write_json(tmp_path / "audit.json", {"components": audited, "seen": []})
    stage.run(
        config=how,
        partition=tmp_path / "partition",
        sources=tmp_path / "sources",
        audit=tmp_path / "audit.json",
        samples=tmp_path / "samples.parquet",
        mix_file=tmp_path / "mix.json",
    )
    return json.loads((tmp_path / "mix.json").read_text())


@pytest.fixture(autouse=True)
def tables(tmp_path):
    tasks.write(tmp_path / "partition/new-train.parquet", [task("a"), task("b")])
    tasks.write(tmp_path / "sources/concept-arc.parquet", [task("c", test=3)])
    tasks.write(tmp_path / "sources/mini-arc.parquet", [])


def test_run_draws_from_the_tables_of_the_partition_and_of_the_sources(tmp_path):
    mix = run(
        tmp_path,
        config(component("new-train", weight=2), component("concept-arc", per_test=True)),
    )
    # A pass is 2 entries twice and 3 once: 4 of 7 samples, 34.3 of 60 on average.
    assert [one["entries"] for one in mix["components"]] == [2, 3]
    assert 33 <= mix["components"][0]["samples"] <= 36
    assert mix["samples"] == len(list(sample_table.read_pairs(tmp_path / "samples.parquet"))) == 60
    assert (mix["tasks"], mix["entries"]) == (3, 5)


def test_run_refuses_a_dataset_whose_source_is_empty(tmp_path):
    with pytest.raises(ValueError, match="no tasks in table 'mini-arc'"):
        run(tmp_path, config(component("mini-arc")))


def test_run_draws_nothing_of_the_tasks_that_the_audit_drops(tmp_path):
    how = config(component("new-train"), component("concept-arc", per_test=True))
    mix = run(tmp_path, how, ["b"])
    assert [(one["tasks"], one["entries"]) for one in mix["components"]] == [(1, 1), (1, 3)]
    assert mix["components"][0]["digest"] == tasks.digest([task("a")])


def test_run_draws_no_variation_of_a_dropped_task(tmp_path):
    both = [replace(task("c"), variation=number) for number in range(2)]
    tasks.write(tmp_path / "sources/re-arc.parquet", [*both, task("d")])
    [part] = run(tmp_path, config(component("re-arc")), ["c"])["components"]
    assert (part["tasks"], part["entries"]) == (1, 1)


def test_an_audit_that_drops_nothing_changes_no_byte_of_the_samples(tmp_path):
    how = config(component("new-train"))
    run(tmp_path, how)
    whole = (tmp_path / "samples.parquet").read_bytes()
    run(tmp_path, how, ["of-another-table"])
    assert (tmp_path / "samples.parquet").read_bytes() == whole


def test_run_draws_from_a_part_of_a_table_whose_digest_is_the_table_s(tmp_path):
    [whole] = run(tmp_path, config(component("new-train")))["components"]
    [half] = run(tmp_path, config(component("new-train", subset="50%", n_minus=1)))["components"]
    assert (half["tasks"], half["entries"]) == (1, 3)
    assert half["digest"] == whole["digest"]


def test_run_draws_grids_to_count_in_among_tasks(tmp_path):
    tasks.write(tmp_path / "sources/count.parquet", counting.load("count", source()).tasks)
    mix = run(tmp_path, config(component("count", subset=5), component("new-train", weight=3)))
    assert [(one["tasks"], one["entries"]) for one in mix["components"]] == [(5, 5), (2, 2)]
    [whole] = sample_table.read_chunks(tmp_path / "samples.parquet", 60)
    asked = [len(kinds) for kinds in sample_table.questions(whole)]
    assert asked.count(5) == mix["components"][0]["samples"] > 20
    assert asked.count(0) == mix["components"][1]["samples"] > 20


def test_run_refuses_demonstrations_without_a_test_unless_they_are_left_out_in_turn(tmp_path):
    bare = tasks.Task("v", "arc", "evaluation", 0, task(train=3).train, ())
    tasks.write(tmp_path / "partition/val-demonstrations.parquet", [bare])
    [part] = run(tmp_path, config(component("val-demonstrations", n_minus=1)))["components"]
    assert (part["tasks"], part["entries"]) == (1, 3)
    with pytest.raises(
        ValueError, match=r"'val-demonstrations' has tasks without tests; set n_minus"
    ):
        run(tmp_path, config(component("val-demonstrations")))
