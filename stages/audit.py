"""Stage `audit`: find the pairs that training and validation share.

Reads the task tables of the dataset and the whole measured part, even if the scale validates on
fewer tasks. Writes the shared pairs, the training tasks that are dropped because of them, and the
tasks of the part that are not clean. It is an error if all tasks of a table are dropped.
"""

import logging
from pathlib import Path
from typing import Annotated

from arcmix import files, program, tasks
from arcmix.config import params
from arcmix.config.schema import At, Section
from arcmix.sampling import audit, mix

log = logging.getLogger("arcmix.audit")


class Params(Section):
    """The values that the stage depends on."""

    audit: Annotated[params.Audit, At("audit")]
    """The treatment of leaks."""
    dataset: Annotated[params.Dataset, At("datasets.${dataset}")]
    """The components of the dataset."""


def run(*, config: Params, partition: Path, sources: Path, report: Path) -> None:
    """Compare the tables of the dataset with the measured part and write `report`."""
    measured = tasks.read(partition / "part.parquet")
    tables = mix.read_tables(config.dataset, partition, sources)
    originals = tasks.read(partition / "train.parquet")
    found = audit.findings(tables, originals, measured, drop=config.audit.drop == "leaks")
    collections = audit.overlaps(audit.read_collections(sources))
    files.write_json(report, audit.summary(found, measured) | {"sources": collections})
    for one in found:
        log.info(
            "%s: %d tasks share pairs or ids with measured tasks, %d of %d tasks dropped",
            one.table,
            len({match.first for match in one.matches}.union(one.named)),
            len(one.dropped),
            one.tasks,
        )
    if lost := [one.table for one in found if one.tasks and len(one.dropped) == one.tasks]:
        raise ValueError(
            f"all tasks of the tables {lost} leak into the measured tasks and are dropped; choose"
            " another dataset or measure another part; to train on the measured tasks on purpose:"
            " -S audit.drop=none"
        )


if __name__ == "__main__":
    program.main(run)
