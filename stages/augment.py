"""Stage `augment`: draw the training samples of a dataset.

Reads the task tables that the dataset names, and from the audit which of their tasks are
dropped; writes the samples, and what was drawn from where.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from arcmix import augment, files, mix, narrow, params, program, tasks
from arcmix.schema import At, Section

log = logging.getLogger("arcmix.augment")

STRETCH = 1000
"""Samples drawn at once: what the processor's cache holds; does not change a sample."""


class Params(Section):
    """The values that the stage depends on."""

    seed: Annotated[int, At("seed")]
    """The experiment's seed."""
    augment: Annotated[params.Augment, At("augment")]
    """The augmentation."""
    dataset: Annotated[tuple[params.Component, ...], At("datasets.${dataset}")]
    """The components of the dataset."""
    amount: Annotated[params.ScaleAugment, At("scales.${scale}.augment")]
    """How much to draw."""


def run(
    *,
    config: Params,
    partition: Path,
    sources: Path,
    audit: Path,
    samples: Path,
    mix_file: Path,
) -> None:
    """Draw the samples of the dataset into `samples` and count them into `mix_file`."""
    audited = files.read_json(audit)
    parts = components(config, partition, sources, audited)
    pool = augment.pool([entry for part in parts for entry in part.entries])
    slots = np.array(mix.slots(parts))
    drawn = np.zeros(len(pool.first_pair), np.int64)

    def stretches() -> Iterator[augment.Samples]:
        total = config.amount.samples
        with program.progress(total, "draw samples", "sample") as bar:
            for first in range(0, total, STRETCH):
                count = min(STRETCH, total - first)
                stretch = augment.draw(pool, slots, config.augment, config.seed, first, count)
                np.add.at(drawn, stretch.entries, 1)
                yield stretch
                bar.update(count)

    augment.write(samples, stretches())
    ends = np.cumsum([len(part.entries) for part in parts])
    counts = [int(share.sum()) for share in np.split(drawn, ends[:-1])]
    knows = mix.uses_validation(audited)
    files.write_json(mix_file, mix.summary(parts, counts, uses_validation=knows))
    for part, count in zip(parts, counts, strict=True):
        log.info("%d samples of %d entries of %s", count, len(part.entries), part.table)


def components(
    config: Params, partition: Path, sources: Path, audited: Mapping[str, Any]
) -> list[mix.Part]:
    """Return the components of the dataset, without what the report of the audit drops."""
    dropped = mix.dropped(audited, [component.tasks for component in config.dataset])
    parts = []
    for component, leaks in zip(config.dataset, dropped, strict=True):
        folder = partition if component.tasks in params.PARTITION_TABLES else sources
        table = tasks.read(folder / f"{component.tasks}.parquet")
        found = [task for task in table if task.id not in leaks]
        parts.append(
            mix.part(
                component.tasks,
                narrow.narrow(found, component, config.seed),
                per_test=component.per_test,
                weight=component.weight,
                digest=tasks.digest(found),
            )
        )
    return parts


if __name__ == "__main__":
    program.main(run)
