"""Stage `partition`: split ARC-AGI-1 into training and validation tasks.

Reads the tasks of ARC-AGI-1; writes a folder with one table for each part of it that a
dataset may name, the validation tasks of the scale, and a summary for review.
"""

import logging
from pathlib import Path
from typing import Annotated

from arcmix import files, params, partition, program, tasks
from arcmix.schema import At, Section

log = logging.getLogger("arcmix.partition")


class Params(Section):
    """The values that the stage depends on."""

    partition: Annotated[params.Partition, At("partition")]
    """The split."""
    validation: Annotated[params.ScaleValidation, At("scales.${scale}.validation")]
    """The part of it that the scale validates on."""


def run(*, config: Params, task_table: Path, tables: Path, validation: Path, summary: Path) -> None:
    """Draw the split into the folder `tables` and the table `validation`."""
    found = tasks.read(task_table)
    training, evaluation = (
        [task for task in found if task.split == split] for split in ("training", "evaluation")
    )
    drawn = partition.draw(evaluation, config.partition.seed, config.partition.tasks)
    measured = partition.shortest(drawn, config.validation.tasks)

    parts = partition.tables(training, evaluation, drawn)
    for name, part in parts.items():
        tasks.write(tables / f"{name}.parquet", part)
    tasks.write(validation, measured)
    ids = [task.id for task in drawn]
    files.write_json(
        summary,
        {
            "seed": config.partition.seed,
            "validation": ids,
            "sha256": partition.sha256(ids),
            "sha256_sorted": partition.sha256(sorted(ids)),
            "tasks": {name: len(part) for name, part in parts.items()} | {"validation": len(ids)},
            "validation_tests": sum(len(task.test) for task in drawn),
            "measured": [task.id for task in measured],
            "measured_digest": tasks.digest(measured),
        },
    )
    log.info("%d validation tasks, %d of them measured", len(drawn), len(measured))


if __name__ == "__main__":
    program.main(run)
