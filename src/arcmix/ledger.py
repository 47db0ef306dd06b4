"""The ledger: one file a run, kept between runs and in git, so that runs can be compared.

A row holds all that the table needs and all that made its numbers. Its fingerprint is
that of everything but the seed: rows of one fingerprint are repeats of one experiment.
"""

import dataclasses
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd

from arcmix import files
from arcmix.code import LENGTH

log = logging.getLogger("arcmix.ledger")

VERSION = 2
"""Of the format of a row: raised with every change of the fields. Rows had none before 2."""

METRICS = (
    "accuracy",
    "best_val_loss",
    "best_val_step",
    "selected_2",
    "selected_2_high",
    "selected_2_low",
    "val_loss",
    "val_loss_step_0",
    "vote_2",
)
"""Metrics that the table and the figures show."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One run."""

    dataset: str
    """Name of the training dataset."""
    model: str
    """Name of the base model."""
    scale: str
    """Name of the budgets."""
    seed: int
    """The experiment's seed."""
    fingerprint: str
    """Hash of what repeats of the experiment share."""
    code: str
    """Hash of the code that made the numbers (`code.fingerprint`)."""
    settings_fingerprint: str
    """Hash of `settings`: rows that agree in it and in `code` can be compared."""
    settings: dict[str, Any]
    """Values of the partition, the augmentation, the model, the scale and the selection, and the
    version of the metrics."""
    components: list[dict[str, Any]]
    """The dataset's entry in `params.yaml`."""
    mix: dict[str, Any]
    """What the training samples were drawn from, counted."""
    start: dict[str, Any]
    """What the run started from (`start.json` of stage `fetch_adapter`)."""
    adapter: str
    """Address of the trained adapter in DVC's cache (`store.address`)."""
    metrics: dict[str, float]
    """The run's numbers."""
    history: list[dict[str, Any]]
    """Losses by optimizer step."""
    tasks: dict[str, dict[str, Any]]
    """Scores and loss of each validation task; a loss is None if no prompt fitted."""
    packages: dict[str, str]
    """Versions of the libraries that train."""


AGAIN = "remove the file and repeat its run, or read it with the code of its commit"
"""What to do with a row that this version does not read."""


def fingerprint(*values: Any) -> str:  # noqa: ANN401
    """Return a hash of values that JSON can hold, in 12 hexadecimal digits."""
    text = json.dumps(values, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def place(folder: Path, row: Row) -> Path:
    """Return the file of a row in a ledger."""
    return folder / row.dataset / f"{row.seed}-{row.fingerprint}.json"


def write(folder: Path, row: Row) -> Path:
    """Write a row into a ledger and return its file.

    Raises:
        ValueError: If the row lacks a metric that the table shows.
    """
    path = place(folder, row)
    _check_metrics(path, row)
    files.write_json(path, {"version": VERSION} | dataclasses.asdict(row))
    return path


def read(folder: Path) -> list[Row]:
    """Read the rows of a ledger, by dataset, seed and fingerprint.

    Rows of another version of the format are left out, with a warning.

    Raises:
        ValueError: If a file is not a row, lies at the place of another one, or lacks a
            metric that the table shows.
    """
    rows, others = [], []
    fields = {field.name for field in dataclasses.fields(Row)}
    for path in sorted(folder.glob("*/*.json")):
        values = files.read_json(path)
        if not isinstance(values, dict) or not {"dataset", "seed", "fingerprint"} <= values.keys():
            raise ValueError(f"{path}: not a row of the ledger; remove the file")
        if values.pop("version", 1) != VERSION:
            others.append(path)
            continue
        if values.keys() != fields:
            differs = sorted(values.keys() ^ fields)
            raise ValueError(f"{path}: damaged: has not or should not have {differs}; {AGAIN}")
        row = Row(**values)
        if path != place(folder, row):
            raise ValueError(f"{path}: holds the row of {place(folder, row)}; remove the file")
        _check_metrics(path, row)
        rows.append(row)
    if others:
        log.warning(
            "left out %d rows of another version than %d of their format, first %s; %s",
            len(others),
            VERSION,
            others[0],
            AGAIN,
        )
    return sorted(rows, key=lambda row: (row.dataset, row.seed, row.fingerprint))


def records(path: Path) -> list[dict[str, Any]]:
    """Read a CSV file as one mapping a row, an empty cell as None and a task as text."""
    table = pd.read_csv(path, dtype={"task": str})  # else the task 00576224 is a number
    return table.astype(object).where(table.notna(), None).to_dict("records")


def _check_metrics(path: Path, row: Row) -> None:
    if missing := [name for name in METRICS if name not in row.metrics]:
        raise ValueError(f"{path}: the row has no metric {missing}, got {sorted(row.metrics)}")
