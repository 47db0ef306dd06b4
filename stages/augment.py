"""Stage `augment`: draw the training samples of a dataset.

Reads the task tables of the dataset, and the audit with the tasks that are dropped. Writes the
samples and the number of samples from each table.
"""

import logging
from pathlib import Path
from typing import Annotated

import numpy as np

from arcmix import files, program
from arcmix.config import params
from arcmix.config.schema import At, PositiveInt, Section, Seed
from arcmix.sampling import audit as audit_report
from arcmix.sampling import augment, mix, sample_table

log = logging.getLogger("arcmix.augment")


class Params(Section):
    """The values that the stage depends on."""

    seed: Annotated[Seed, At("seed")]
    """The experiment's seed."""
    augment: Annotated[params.Augment, At("augment")]
    """The augmentation."""
    dataset: Annotated[params.Dataset, At("datasets.${dataset}")]
    """The components of the dataset."""
    samples: Annotated[PositiveInt, At("scales.${scale}.samples")]
    """Number of samples."""


def run(
    *,
    config: Params,
    partition: Path,
    sources: Path,
    audit: Path,
    samples: Path,
    mix_file: Path,
) -> None:
    """Draw the samples of the dataset to `samples` and write their counts to `mix_file`."""
    report = audit_report.read(audit)
    tables = mix.read_tables(config.dataset, partition, sources)
    parts = mix.parts(config.dataset, tables, report, config.seed)
    pool = augment.pool([entry for part in parts for entry in part.entries])
    slots = np.array(mix.slots(parts))
    chunks = augment.chunks(pool, slots, config.augment, config.seed, config.samples)
    drawn = sample_table.write(samples, chunks)
    counts = mix.summary(parts, drawn, uses_validation=mix.uses_validation(report))
    files.write_json(mix_file, counts)
    for one in counts["components"]:
        log.info("%d samples of %d entries of %s", one["samples"], one["entries"], one["table"])


if __name__ == "__main__":
    program.main(run)
