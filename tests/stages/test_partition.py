import json
from dataclasses import replace

import pytest

from arcmix import tasks
from arcmix.config import params, scales
from arcmix.sampling import partition
from stages import partition as stage
from tests.arc import task

TRAINING = [task(f"t{number}", train=3 + number) for number in range(3)]
EVALUATION = [task(f"e{number}", train=1 + number, split="evaluation") for number in range(5)]
CONCEPTS = [
    replace(task("c0", train=7, split="corpus"), group="above"),
    replace(task("c1", train=2, split="corpus"), group="inside"),
    task("c2", train=3, test=2, split="minimal"),
]


def run(tmp_path, source="arc", part="validation", count=2):
    tasks.write(tmp_path / "arc.parquet", TRAINING + EVALUATION)
    tasks.write(tmp_path / "concepts.parquet", CONCEPTS)
    stage.run(
        config=stage.Params(
            partition=params.Partition(source="arc", seed=7, tasks=3),
            measure=params.Measure(source=source, part=part),
            validation=scales.ScaleValidation(tasks=count, max_tokens=10),
        ),
        sources=tmp_path,
        tables=tmp_path / "tables",
        validation=tmp_path / "validation.parquet",
        summary=tmp_path / "summary.json",
    )
    return json.loads((tmp_path / "summary.json").read_text())


def ids(path):
    return [one.id for one in tasks.read(path)]


DRAWN = [one.id for one in partition.draw(EVALUATION, 7, 3)]


def test_run_writes_the_tables_the_validation_tasks_and_the_summary(tmp_path):
    summary = run(tmp_path)

    assert summary["validation"] == DRAWN
    assert summary["sha256"] == partition.sha256(DRAWN)
    assert summary["tasks"] == {
        "train": 3,
        "evaluation": 5,
        "new-train": 5,
        "val-n-1": sum(id_ != "e0" for id_ in DRAWN),
        "val-demonstrations": 3,
        "part": 3,
        "measured": 2,
        "validation": 3,
    }
    tables = {path.stem: len(tasks.read(path)) for path in (tmp_path / "tables").iterdir()}
    assert tables == {name: summary["tasks"][name] for name in tables}
    assert tables.keys() == {*params.PARTITION_TABLES, "part"}
    measured = ids(tmp_path / "validation.parquet")
    assert measured == summary["measured"]
    assert measured == [id_ for id_ in DRAWN if id_ in sorted(DRAWN)[:2]]


@pytest.mark.parametrize(
    ("source", "part", "whole", "shortest"),
    [
        ("arc", "validation", DRAWN, [id_ for id_ in DRAWN if id_ in sorted(DRAWN)[:2]]),
        ("arc", "train", ["t0", "t1", "t2"], ["t0", "t1"]),
        ("arc", "evaluation", ["e0", "e1", "e2", "e3", "e4"], ["e0", "e1"]),
        ("arc", "val-n-1", [id_ for id_ in DRAWN if id_ != "e0"], None),
        ("concepts", "corpus", ["c0", "c1"], ["c0", "c1"]),
        ("concepts", "all", ["c0", "c1", "c2"], ["c1", "c2"]),
    ],
)
def test_run_measures_the_shortest_of_the_part(tmp_path, source, part, whole, shortest):
    run(tmp_path, source, part)

    assert ids(tmp_path / "tables/part.parquet") == whole
    measured = tmp_path / "validation.parquet"
    assert ids(measured) == shortest or shortest is None
    assert measured.read_bytes() == (tmp_path / "tables/measured.parquet").read_bytes()


def test_run_refuses_a_part_that_the_source_does_not_have(tmp_path):
    with pytest.raises(ValueError, match=r"measure.part: 'nope' is not one of \['all', 'corpus', "):
        run(tmp_path, source="concepts", part="nope")


def test_what_is_measured_changes_neither_the_split_nor_the_tables_of_it(tmp_path):
    def own():
        paths = sorted((tmp_path / "tables").iterdir())
        return {path.stem: path.read_bytes() for path in paths if path.stem not in measured}

    measured = {"part", "measured"}
    before, tables = run(tmp_path), own()
    after = run(tmp_path, "concepts", "all")

    assert own() == tables
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"measured", "measured_digest"}


def test_measured_tasks_have_their_tests_and_groups(tmp_path):
    run(tmp_path, "concepts", "all", count=3)

    found = tasks.read(tmp_path / "validation.parquet")
    assert [(one.id, len(one.test), one.group) for one in found] == [
        ("c0", 1, "above"),
        ("c1", 1, "inside"),
        ("c2", 2, None),
    ]


def test_run_refuses_to_measure_more_tasks_than_the_part_has(tmp_path):
    with pytest.raises(
        ValueError, match="cannot measure 2 tasks: only 1 found; set the scale's valid"
    ):
        run(tmp_path, "concepts", "minimal")
