"""Stage `local`: hash the local files that a run reads, so that DVC sees an edit of them.

Reads the folders of tasks, the archives of a mirror that is a folder, and the folders of a base
model and of an adapter. Writes a small file with the digest of each source, of the model and of the
adapter. It is an empty map for what this run does not use or what is not local.
"""

import os
from pathlib import Path
from typing import Annotated

from arcmix import files, local, program
from arcmix.config import origins, params
from arcmix.config.schema import At, Name, Section
from arcmix.ledger import given
from arcmix.sources import inputs
from arcmix.sources.archive import MIRROR


class Params(Section):
    """The values that the stage depends on."""

    mirror: Annotated[params.Mirror, At("mirror")]
    """The origin of archives, which may be a folder."""
    partition_source: Annotated[Name, At("partition.source")]
    """The source of the partition, which every run uses."""
    measured_source: Annotated[Name, At("measure.source")]
    """The source of the measured tasks."""
    dataset: Annotated[params.Dataset, At("datasets.${dataset}")]
    """The training dataset; its components use the other sources."""
    sources: Annotated[dict[str, origins.Source], At("sources")]
    """All sources."""
    model: Annotated[origins.Model, At("models.${model}")]
    """The base model."""
    adapter: Annotated[params.Run, At("init.adapter")]
    """The adapter that the fine-tune starts from, which may be a folder."""


def run(*, config: Params, root: Path, out: Path) -> None:
    """Write the digests of the sources, of the model and of the adapter to the folder `out`.

    Relative paths start at `root`.
    """
    used = inputs.used(config.partition_source, config.measured_source, config.dataset)
    mirror = os.environ.get(MIRROR) or config.mirror
    for name, source in config.sources.items():
        found = inputs.digest(name, source, mirror, root) if name in used else {}
        files.write_json(out / "sources" / f"{name}.json", found)
    model, adapter = config.model, config.adapter
    found = {"model": {}, "adapter": {}}
    if isinstance(model, origins.FolderModel):
        found["model"] = inputs.model_digest(model.path, root)
    if adapter.startswith(params.PATH_STARTS):
        found["adapter"] = given.digest(local.place(adapter, root))
    for name, digest in found.items():
        files.write_json(out / f"{name}.json", digest)


if __name__ == "__main__":
    program.main(run)
