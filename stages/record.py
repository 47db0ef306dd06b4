"""Stage `record`: add the run to the ledger.

Reads the run's numbers and the values that made them. Writes one row, with equal bytes for equal
numbers, and changes no other row. A queued run works in a temporary clone, so it also writes its
row to the ledger of the repository that queued it.
"""

import logging
from pathlib import Path
from typing import Annotated

from arcmix import files, program
from arcmix.config import origins, params, scales
from arcmix.config.schema import At, Name, Section, Seed
from arcmix.ledger import records, store

log = logging.getLogger("arcmix.record")


class Params(Section):
    """The values that the stage depends on."""

    dataset: Annotated[Name, At("dataset")]
    """Name of the training dataset."""
    model: Annotated[Name, At("model")]
    """Name of the base model."""
    scale: Annotated[Name, At("scale")]
    """Name of the scale."""
    seed: Annotated[Seed, At("seed")]
    """The experiment's seed."""
    init_seed: Annotated[params.InitSeed, At("init_seed")]
    """The seed of the adapter's initial weights."""
    selection: Annotated[params.Selection, At("selection")]
    """The rule that selects the answers."""
    checkpoint: Annotated[params.Checkpoint, At("checkpoint")]
    """The checkpoint of the adapter that answers."""
    partition: Annotated[params.Partition, At("partition")]
    """The split into training and validation."""
    measure: Annotated[params.Measure, At("measure")]
    """The tasks that are measured."""
    audit: Annotated[params.Audit, At("audit")]
    """The handling of leaks."""
    augment: Annotated[params.Augment, At("augment")]
    """The augmentation."""
    components: Annotated[params.Dataset, At("datasets.${dataset}")]
    """The dataset."""
    base: Annotated[origins.Model, At("models.${model}")]
    """The base model."""
    budgets: Annotated[scales.Scale, At("scales.${scale}")]
    """The scale."""


def run(  # noqa: PLR0913 - a stage's arguments are its files
    *,
    config: Params,
    run_code: Path,
    metrics: Path,
    tasks: Path,
    history: Path,
    mix: Path,
    partition: Path,
    initial: Path,
    adapter: Path,
    rows: Path,
    deposit: Path,
) -> None:
    """Write the run's row to the ledger `rows`, and to the ledger `deposit` if it is another."""
    row = records.make(
        config.model_dump(mode="json"),
        run_code.read_text().strip(),
        mix=files.read_json(mix),
        start=files.read_json(initial / "start.json"),
        adapter=store.address(adapter),
        metrics=files.read_json(metrics),
        history=files.read_csv(history),
        tasks=files.read_csv(tasks),
        validation_digest=files.read_json(partition)["measured_digest"],
    )
    written = records.write(rows, row)
    if deposit.resolve() != rows.resolve():
        records.write(deposit, row)
    log.info("recorded %s", written)


if __name__ == "__main__":
    program.main(run)
