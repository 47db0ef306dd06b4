"""Stage `download`: parse and verify the tasks of one source.

Reads the data file of a package or the archive of a repository, runs the generators in a wheel, or
draws grids to count in. Writes a task table, which is empty if the run does not use the source.
"""

import logging
import os
from pathlib import Path
from typing import Annotated

from arcmix import program, redaction, tasks
from arcmix.config import origins, params
from arcmix.config.schema import At, Section
from arcmix.sources import archive, counting, package, pins, rearc

log = logging.getLogger("arcmix.download")

MIRROR = "ARCMIX_MIRROR"
"""Environment variable that overrides the parameter `mirror`."""


class Params(Section):
    """The values that the stage depends on."""

    mirror: Annotated[str, At("mirror")]
    """The origin of archives; their content is pinned."""
    partition_source: Annotated[str, At("partition.source")]
    """The source of the partition, which every run uses."""
    measured_source: Annotated[str, At("measure.source")]
    """The source of the measured tasks."""
    dataset: Annotated[params.Dataset, At("datasets.${dataset}")]
    """The training dataset; its components use the other sources."""
    source: Annotated[origins.Source, At("sources.${key}")]
    """The source to load."""


def run(*, key: str, config: Params, cache: Path, out: Path) -> None:
    """Write the tasks of source `key` to `out`; downloaded files stay in `cache`."""
    if redaction.redacted(config.mirror) != config.mirror:
        raise ValueError(
            f"mirror in params.yaml has credentials, {redaction.redacted(config.mirror)}, and DVC"
            f" would write them to dvc.lock; set the environment variable {MIRROR} instead"
        )
    needed = {config.partition_source, config.measured_source}
    if key not in needed.union(part.tasks for part in config.dataset.values()):
        tasks.write(out, [])
        log.info("%s: not used in this run, so not fetched", key)
        return
    loaded = _load(key, config, cache)
    tasks.write(out, loaded.tasks)
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


def _load(key: str, config: Params, cache: Path) -> pins.Loaded:
    match config.source:
        case origins.PackageSource():
            return package.load(key, config.source)
        case origins.ArchiveSource():
            mirror = os.environ.get(MIRROR) or config.mirror
            return archive.load(key, config.source, cache=cache, mirror=mirror)
        case origins.GeneratorSource():
            return rearc.load(key, config.source, cache=cache)
        case origins.CountingSource():
            return counting.load(key, config.source)


if __name__ == "__main__":
    program.main(run)
