import json

from arcmix import params, partition, tasks
from stages import partition as stage
from tests.arc import task


def test_run_writes_the_tables_the_validation_tasks_and_the_summary(tmp_path):
    training = [task(f"t{number}") for number in range(3)]
    evaluation = [task(f"e{number}", train=1 + number, split="evaluation") for number in range(5)]
    tasks.write(tmp_path / "arc.parquet", training + evaluation)

    stage.run(
        config=stage.Params(
            partition=params.Partition(source="arc", seed=7, tasks=3),
            validation=params.ScaleValidation(tasks=2, max_tokens=10),
        ),
        task_table=tmp_path / "arc.parquet",
        tables=tmp_path / "tables",
        validation=tmp_path / "validation.parquet",
        summary=tmp_path / "summary.json",
    )

    drawn = [one.id for one in partition.draw(evaluation, 7, 3)]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["validation"] == drawn
    assert summary["sha256"] == partition.sha256(drawn)
    assert summary["tasks"] == {
        "train": 3,
        "evaluation": 5,
        "new-train": 5,
        "val-n-1": sum(id_ != "e0" for id_ in drawn),
        "val-demonstrations": 3,
        "validation": 3,
    }
    tables = {path.stem: len(tasks.read(path)) for path in (tmp_path / "tables").iterdir()}
    assert tables == {name: summary["tasks"][name] for name in tables}
    measured = [one.id for one in tasks.read(tmp_path / "validation.parquet")]
    assert measured == summary["measured"]
    assert measured == [id_ for id_ in drawn if id_ in sorted(drawn)[:2]]
