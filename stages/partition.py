"""Stage `partition`: split ARC-AGI-1 into training and validation tasks.

Reads the tasks of ARC-AGI-1 and of the measured source. Writes a folder with the tables that a
dataset may use and the table `part` with the whole measured part. Also writes the tasks of this
part that the scale validates on, and a summary for review.
"""

import logging
from pathlib import Path
from typing import Annotated

from arcmix import files, program, tasks
from arcmix.config import params, scales
from arcmix.config.document import unknown
from arcmix.config.schema import At, Section
from arcmix.sampling import partition

log = logging.getLogger("arcmix.partition")


class Params(Section):
    """The values that the stage depends on."""

    partition: Annotated[params.Partition, At("partition")]
    """The split."""
    measure: Annotated[params.Measure, At("measure")]
    """The measured part."""
    validation: Annotated[scales.ScaleValidation, At("scales.${scale}.validation")]
    """The number of its tasks that the scale validates on."""


def run(
    *,
    config: Params,
    sources: Path,
    tables: Path,
    validation: Path,
    summary: Path,
) -> None:
    """Draw the split and write its tables to the folder `tables` and to `validation`.

    The folder `sources` has the task tables.
    """
    found = tasks.read(sources / f"{config.partition.source}.parquet")
    training, evaluation = (
        [task for task in found if task.split == split] for split in ("training", "evaluation")
    )
    drawn = partition.draw(evaluation, config.partition.seed, config.partition.tasks)
    parts = partition.tables(training, evaluation, drawn)
    if config.measure.source == config.partition.source:
        offered = parts | {"validation": drawn}
    else:
        offered = partition.splits(tasks.read(sources / f"{config.measure.source}.parquet"))
    if config.measure.part not in offered:
        raise ValueError(f"measure.part: {unknown(config.measure.part, offered)}")
    part = offered[config.measure.part]
    measured = partition.shortest(part, config.validation.tasks)

    parts |= {"part": part, "measured": measured}
    for name, table in parts.items():
        tasks.write(tables / f"{name}.parquet", table)
    tasks.write(validation, measured)
    ids = [task.id for task in drawn]
    files.write_json(
        summary,
        {
            "seed": config.partition.seed,
            "validation": ids,
            "sha256": partition.sha256(ids),
            "sha256_sorted": partition.sha256(sorted(ids)),
            "tasks": {name: len(table) for name, table in parts.items()} | {"validation": len(ids)},
            "validation_tests": sum(len(task.test) for task in drawn),
            "measured": [task.id for task in measured],
            "measured_digest": tasks.digest(measured),
        },
    )
    log.info(
        "%d of the %d tasks of %s %s are measured",
        len(measured),
        len(part),
        config.measure.source,
        config.measure.part,
    )


if __name__ == "__main__":
    program.main(run)
