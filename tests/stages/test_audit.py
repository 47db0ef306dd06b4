import json
from dataclasses import replace

import pytest

from arcmix import tasks
from arcmix.sources import counting
from stages import audit as stage
from tests.arc import component, dataset, task
from tests.sources.test_counting import source

VALIDATION = task("e1", train=5, split="evaluation")
LEAK = replace(VALIDATION, id="t1", split="training")
OTHER = replace(task("t2"), train=(task(train=9).train[6],), test=(task(train=9).train[7],))


def run(tmp_path, *tables, drop="leaks"):
    components = tuple(component(table) for table in tables)
    stage.run(
        config=stage.Params.model_validate(
            {"audit": {"drop": drop}, "dataset": dataset(*components)}
        ),
        partition=tmp_path / "partition",
        sources=tmp_path / "sources",
        report=tmp_path / "audit.json",
    )
    return json.loads((tmp_path / "audit.json").read_text())


@pytest.fixture(autouse=True)
def tables(tmp_path):
    undrawn = replace(OTHER, id="e2", split="evaluation")
    drawn = [replace(OTHER, id="t1", variation=1), replace(OTHER, id="t3", variation=0)]
    tasks.write(tmp_path / "partition/train.parquet", [LEAK, OTHER])
    tasks.write(tmp_path / "partition/evaluation.parquet", [undrawn, VALIDATION])
    tasks.write(tmp_path / "sources/arc.parquet", [VALIDATION, LEAK, OTHER])
    tasks.write(tmp_path / "sources/re-arc.parquet", drawn)
    tasks.write(tmp_path / "sources/mini-arc.parquet", [])
    tasks.write(tmp_path / "partition/part.parquet", [VALIDATION])


def test_run_reports_and_drops_the_leaks_of_each_component(tmp_path):
    report = run(tmp_path, "train", "re-arc")
    assert [one["table"] for one in report["components"]] == ["train", "re-arc"]
    assert [one["dropped"] for one in report["components"]] == [["t1"], ["t1"]]
    assert report["seen"] == ["e1"]
    assert (report["clean_tasks"], report["dropped_tasks"]) == (0, 2)


def test_what_leaks_depends_on_what_is_measured(tmp_path):
    tasks.write(tmp_path / "partition/part.parquet", [OTHER])
    report = run(tmp_path, "train", "evaluation")
    assert [one["dropped"] for one in report["components"]] == [["t2"], ["e2"]]
    assert (report["seen"], report["validation_tasks"]) == (["t2"], 1)


@pytest.mark.parametrize("table", ["train", "re-arc", "measured"])
def test_run_refuses_to_drop_a_whole_table_and_says_what_to_set(tmp_path, table):
    whole = [LEAK, OTHER, replace(OTHER, id="t3")]
    tasks.write(tmp_path / "partition/part.parquet", whole)
    tasks.write(tmp_path / "partition/measured.parquet", whole[1:])
    hint = rf"tables \['{table}'\] leak into the measured tasks.*: -S audit\.drop=none$"
    with pytest.raises(ValueError, match=hint):
        run(tmp_path, "mini-arc", table)
    # The report is there for a look.
    assert len(json.loads((tmp_path / "audit.json").read_text())["components"]) == 2

    [_, known] = run(tmp_path, "mini-arc", table, drop="none")["components"]
    assert (known["dropped"], known["similar"] > 0) == ([], True)


def test_a_source_that_was_not_fetched_is_no_table_that_leaks(tmp_path):
    [found] = run(tmp_path, "mini-arc")["components"]
    assert (found["tasks"], found["dropped"]) == (0, [])


def test_run_drops_nothing_where_told_so_and_finds_the_same(tmp_path):
    report = run(tmp_path, "train", drop="none")
    assert [one["dropped"] for one in report["components"]] == [[]]
    assert report["seen"] == ["e1"]


def test_run_compares_the_collections_at_hand_but_no_drawn_tasks(tmp_path):
    tasks.write(tmp_path / "sources/count.parquet", counting.load("count", source()).tasks)
    rows = run(tmp_path, "train")["sources"]
    assert {row["collection"]: row["shared"] for row in rows} == {
        "arc evaluation": {
            "arc evaluation": {"exact": 0, "similar": 0},
            "arc training": {"exact": 1, "similar": 1},
        },
        "arc training": {"arc training": {"exact": 0, "similar": 0}},
    }


def test_a_grid_to_count_in_matches_no_validation_pair(tmp_path):
    alike = tasks.Pair(VALIDATION.train[0].input, VALIDATION.train[0].input)
    grids = counting.load("count", source()).tasks
    tasks.write(tmp_path / "sources/count.parquet", [replace(grids[0], test=(alike,)), *grids[1:]])
    report = run(tmp_path, "count")
    [component] = report["components"]
    assert (component["tasks"], component["similar"], component["dropped"]) == (30, 0, [])
    assert report["clean_tasks"] == 1
