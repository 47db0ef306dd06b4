"""Stage `record`: enter the run into the ledger.

Reads the run's numbers and the values that made them; writes one row, equal bytes for
equal numbers. A queued run lives in a temporary clone, so it deposits its row in the
repository that queued it, too. Other rows are left alone.
"""

import importlib.metadata
import logging
from pathlib import Path
from typing import Annotated, Literal

from arcmix import code, files, ledger, params, program, store
from arcmix.schema import At, Section

log = logging.getLogger("arcmix.record")

PACKAGES = ("peft", "torch", "transformers", "trl")
"""Libraries whose version may show in the numbers."""


SPEEDS = ("tokens_per_second", "answer_tokens_per_second", "seconds_per_step")
"""Columns of the history that differ from machine to machine; a row is without them."""


class Params(Section):
    """The values that the stage depends on."""

    dataset: Annotated[str, At("dataset")]
    """Name of the training dataset."""
    model: Annotated[str, At("model")]
    """Name of the base model."""
    scale: Annotated[str, At("scale")]
    """Name of the budgets."""
    seed: Annotated[int, At("seed")]
    """The experiment's seed."""
    init_seed: Annotated[int | Literal["seed"], At("init_seed")]
    """The seed of the adapter's start."""
    selection: Annotated[str, At("selection")]
    """The rule that selects the answers."""
    partition: Annotated[params.Partition, At("partition")]
    """The split into training and validation."""
    measure: Annotated[params.Measure, At("measure")]
    """Which tasks were measured."""
    audit: Annotated[params.Audit, At("audit")]
    """Whether leaks were dropped."""
    augment: Annotated[params.Augment, At("augment")]
    """The augmentation."""
    components: Annotated[tuple[params.Component, ...], At("datasets.${dataset}")]
    """The dataset."""
    base: Annotated[params.Model, At("models.${model}")]
    """The base model."""
    budgets: Annotated[params.Scale, At("scales.${scale}")]
    """The budgets."""


def run(  # noqa: PLR0913 - a stage's arguments are its files
    *,
    config: Params,
    library: Path,
    programs: Path,
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
    """Enter the run into the ledger `rows`, and into `deposit` where that is another one."""
    values = config.model_dump(mode="json")
    numbers = files.read_json(metrics)
    settings = {
        "partition": values["partition"],
        "measure": values["measure"],
        "audit": values["audit"],
        "augment": values["augment"],
        "model": values["base"],
        "scale": values["budgets"],
        "init_seed": values["init_seed"],
        "selection": values["selection"],
        "metrics_version": numbers["metrics_version"],
        "validation_digest": files.read_json(partition)["measured_digest"],
    }
    drawn = files.read_json(mix)
    start = files.read_json(initial / "start.json")
    named = [(part["tasks"], part["weight"]) for part in values["components"]]
    if named != [(part["table"], part["weight"]) for part in drawn["components"]]:
        # As after an edit of params.yaml and `dvc repro -s record`: the row would lie.
        raise ValueError(f"{mix}: not drawn from {config.dataset!r}, {named}; run: dvc repro")
    digests = [component["digest"] for component in drawn["components"]]
    present = code.fingerprint(code.programs(programs), library)
    row = ledger.Row(
        dataset=config.dataset,
        model=config.model,
        scale=config.scale,
        seed=config.seed,
        fingerprint=ledger.fingerprint(
            present, config.model, config.scale, settings, values["components"], digests, start
        ),
        code=present,
        settings_fingerprint=ledger.fingerprint(settings),
        settings=settings,
        components=values["components"],
        mix=drawn,
        start=start,
        adapter=store.address(adapter),
        metrics=numbers,
        history=[
            {name: value for name, value in entry.items() if name not in SPEEDS}
            for entry in ledger.records(history)
        ],
        tasks={task.pop("task"): task for task in ledger.records(tasks)},
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
    )
    written = ledger.write(rows, row)
    if deposit.resolve() != rows.resolve():
        ledger.write(deposit, row)
    log.info("recorded %s", written)


if __name__ == "__main__":
    program.main(run)
