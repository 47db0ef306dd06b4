"""Stage `download`: parse and verify the tasks of one source.

Reads the data file of a package, the archive of a repository, the files of a local folder or of a
repository of the hub, runs the generators in a wheel, or draws grids to count in. Writes a task
table, which is empty if the run does not use the source.
"""

import logging
import os
from pathlib import Path
from typing import Annotated

from arcmix import program, tasks
from arcmix.config import origins, params
from arcmix.config.document import checked_name
from arcmix.config.schema import At, Name, Section
from arcmix.sources import archive, counting, folder, hub, inputs, package, pins, rearc
from arcmix.sources.archive import MIRROR

log = logging.getLogger("arcmix.download")


class Params(Section):
    """The values that the stage depends on."""

    mirror: Annotated[params.Mirror, At("mirror")]
    """The origin of archives; their content is pinned."""
    partition_source: Annotated[Name, At("partition.source")]
    """The source of the partition, which every run uses."""
    measured_source: Annotated[Name, At("measure.source")]
    """The source of the measured tasks."""
    dataset: Annotated[params.Dataset, At("datasets.${dataset}")]
    """The training dataset; its components use the other sources."""
    source: Annotated[origins.Source, At("sources.${key}")]
    """The source to load."""


def run(*, key: program.Key, config: Params, root: Path, cache: Path, out: Path) -> None:
    """Write the table of source `key` to the folder `out`; downloaded files stay in `cache`.

    Relative paths start at `root`.
    """
    table = out / f"{checked_name(key)}.parquet"
    if key not in inputs.used(config.partition_source, config.measured_source, config.dataset):
        tasks.write(table, [])
        log.info("%s: not used in this run, so not fetched", key)
        return
    loaded = _load(key, config, root, cache)
    tasks.write(table, loaded.tasks)
    tests = sum(len(task.test) for task in loaded.tasks)
    rejected = pins.summary(loaded.rejects)
    log.info(
        "%s: %d tasks, %d tests from %s; rejected: %s",
        key,
        len(loaded.tasks),
        tests,
        loaded.origin,
        rejected,
    )


def _load(key: str, config: Params, root: Path, cache: Path) -> pins.Loaded:
    match config.source:
        case origins.PackageSource():
            return package.load(key, config.source)
        case origins.ArchiveSource():
            mirror = os.environ.get(MIRROR) or config.mirror
            return archive.load(key, config.source, cache=cache, mirror=mirror, root=root)
        case origins.FolderSource():
            return folder.load(key, config.source, root)
        case origins.HubSource():
            return hub.load(key, config.source, cache)
        case origins.GeneratorSource():
            return rearc.load(key, config.source, cache=cache)
        case origins.CountingSource():
            return counting.load(key, config.source)


if __name__ == "__main__":
    program.main(run)
