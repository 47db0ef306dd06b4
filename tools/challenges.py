"""Read a challenges file of Kaggle, and warn of training tasks that share pairs with its tasks.

Writes a table of the tasks, whose tests have no outputs, for the stages `adapt` and `predict`.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from arcmix import program, tasks
from arcmix.config import params
from arcmix.config.schema import At, Section
from arcmix.ledger import store
from arcmix.sampling import audit, mix
from arcmix.sources import challenges as kaggle

log = logging.getLogger("arcmix.challenges")

CHECKS = {"check", "code", "local", "preflight"}
"""Stages that only check or compare, so a change of other values does not concern the adapter."""


class Params(Section):
    """The values that the program depends on."""

    dataset: Annotated[params.Dataset, At("datasets.${dataset}")]
    """The components of the dataset that the adapter was trained on."""


def run(
    *,
    config: Params,
    challenges: Path,
    adapter: Path,
    partition: Path,
    sources: Path,
    out: Path,
) -> None:
    """Write the tasks of the file `challenges` to the table `out`.

    The adapter of the folder `adapter` is to answer them; `partition` and `sources` are the folders
    of the task tables that it was trained on.
    """
    if not challenges.is_file():
        raise ValueError(f"{challenges}: there is no such file; give the path of a challenges file")
    if not (adapter / "prompt.json").is_file():
        raise ValueError(f"{adapter} has no adapter yet, which answers the tests; run: make repro")
    if stale := sorted({*store.stale(adapter.parent, "adapt")} - CHECKS):
        raise ValueError(
            f"the stages {stale} have other values or files than when they ran, so the adapter is"
            " not that of the present params.yaml; run: make repro, or put the values back"
        )
    found = kaggle.read(challenges)
    # The outputs of the tests are not known, so only the demonstrations can be compared.
    shown = [replace(task, test=()) for task in found]
    tables = mix.read_tables(config.dataset, partition, sources)
    originals = tasks.read(partition / "train.parquet")
    for one in audit.findings(tables, originals, shown, drop=False):
        trained = sorted({match.first for match in one.matches}.union(one.named))
        if trained:
            log.warning(
                "%s: %d training tasks share pairs or ids with %d of the tasks to answer: %s%s",
                one.table,
                len(trained),
                len(one.seen.union(match.second for match in one.matches)),
                ", ".join(trained[:5]),
                ", ..." if len(trained) > 5 else "",
            )
    tasks.write(out, found)
    log.info("%d tasks with %d tests", len(found), sum(len(task.test) for task in found))


if __name__ == "__main__":
    program.main(run)
