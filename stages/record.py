"""Stage `record`: add the run to the ledger.

Reads the run's numbers, the values that made them and the machines that computed them, and hashes
the tables that the numbers follow from. Adds one
row, and changes no other: if the ledger has the same run with other numbers, such as those of
another machine, it keeps them and says so. The row of each run also lies in the folder `own`. A
queued run works in a temporary clone, so it also adds its row to the ledger of the repository that
queued it.
"""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from arcmix import files, machines, program
from arcmix.config import origins, params, scales
from arcmix.config.schema import At, Name, Section, Seed
from arcmix.ledger import comparison, form, records, store
from arcmix.sampling import mix as mix_file
from arcmix.sampling import partition as split
from arcmix.scoring import evaluation
from arcmix.sources import inputs
from arcmix.training import history as history_table

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
    sources: Annotated[dict[str, origins.Source], At("sources")]
    """All sources; those of local files and of the hub may have no digest."""


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
    validation: Path,
    candidates: Path,
    scores: Path,
    losses: Path,
    answering_losses: Path,
    machine: Path,
    model: Path,
    rows: Path,
    deposit: Path,
    own: Path,
) -> None:
    """Add the run's row to the ledger `rows`, and to the ledger `deposit` if it is another.

    `model` has the digest of a base model that is a local folder (stage `local`).
    """
    if stale := store.stale(metrics.parent, "record"):
        raise ValueError(
            f"the stages {stale} have other values or files than when they ran, so the numbers are"
            " not those of the present values; run: dvc repro"
        )
    used = inputs.used(config.partition.source, config.measure.source, config.components)
    values = config.model_dump(mode="json")
    row = records.make(
        values | {"base": values["base"] | files.read_json(model)},
        run_code.read_text().strip(),
        mix=mix_file.pinned(mix_file.read(mix), config.sources)
        | {"sources": inputs.contents(used, config.sources)},
        start=form.read_start(initial / "start.json"),
        adapter=store.address(adapter),
        data={
            table.stem: store.address(table)
            for table in (validation, candidates, scores, losses, answering_losses)
        },
        metrics=evaluation.read_headline(metrics),
        history=[asdict(entry) for entry in history_table.read(history)],
        tasks=[asdict(task) for task in evaluation.read_tasks(tasks)],
        validation_digest=split.read_digest(partition),
        machines={file.stem: machines.read(file) for file in sorted(machine.glob("*.json"))},
    )
    records.write(own, row)
    kept = records.add(rows, row)
    if deposit.resolve() != rows.resolve():
        kept = records.add(deposit, row) or kept
    if kept:
        log.warning("%s", comparison.sentence(kept, row))
    else:
        log.info("recorded %s", records.place(rows, row))


if __name__ == "__main__":
    program.main(run)
