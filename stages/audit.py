"""Stage `audit`: find what training and validation have in common.

Reads the task tables that the dataset names and the part that is measured, all of it whatever
the scale takes; writes what they share, which training tasks are dropped for it, and which
tasks of the part are clean. A table of which nothing would be left is an error.
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
    """What follows from a leak."""
    dataset: Annotated[params.Dataset, At("datasets.${dataset}")]
    """The components of the dataset."""


def run(*, config: Params, partition: Path, sources: Path, report: Path) -> None:
    """Compare the tables of the dataset with the measured part into `report`."""
    measured = tasks.read(partition / "part.parquet")
    tables = mix.read_tables(config.dataset, partition, sources)
    originals = tasks.read(partition / "train.parquet")
    found = audit.findings(tables, originals, measured, drop=config.audit.drop == "leaks")
    collections = audit.overlaps(audit.read_collections(sources))
    files.write_json(report, audit.summary(found, measured) | {"sources": collections})
    for one in found:
        log.info(
            "%s: %d tasks share pairs or names with measured tasks, %d of %d tasks dropped",
            one.table,
            len({match.first for match in one.matches}.union(one.named)),
            len(one.dropped),
            one.tasks,
        )
    if lost := [one.table for one in found if one.tasks and len(one.dropped) == one.tasks]:
        raise ValueError(
            f"all tasks of {lost} leak into what is measured, so that dropping them leaves"
            " nothing; choose another dataset or measure another part, or, to train on what is"
            " measured and know it: -S audit.drop=none"
        )


if __name__ == "__main__":
    program.main(run)
