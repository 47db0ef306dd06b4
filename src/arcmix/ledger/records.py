"""The ledger: one file a run, kept between runs and in git, so that runs can be compared.

A row holds all that the table needs and all that made its numbers. Its fingerprint is
that of everything but the seed: rows of one fingerprint are repeats of one experiment.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arcmix import files
from arcmix.ledger.code import LENGTH

log = logging.getLogger("arcmix.ledger")

VERSION = 3
"""Of the format of a row: raised with every change of the fields. Rows had none before 2."""

METRICS = (
    "accuracy",
    "best_val_loss",
    "best_val_step",
    "pass_n",
    "selected_2",
    "selected_2_high",
    "selected_2_low",
    "val_loss",
    "val_loss_step_0",
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


PACKAGES = ("peft", "torch", "transformers", "trl")
"""Libraries whose versions may change a number."""

SPEEDS = ("tokens_per_second", "answer_tokens_per_second", "seconds_per_step")
"""Columns of the history that differ from run to run; a row is without them."""

AGAIN = "remove the file and repeat its run, or read it with the code of its commit"
"""What to do with a row that this version does not read."""


def fingerprint(*values: Any) -> str:  # noqa: ANN401
    """Return a hash of values that JSON can hold, in 12 hexadecimal digits."""
    text = json.dumps(values, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def make(  # noqa: PLR0913 - a row is made of as many parts
    values: Mapping[str, Any],
    code: str,
    *,
    mix: dict[str, Any],
    start: dict[str, Any],
    adapter: str,
    metrics: dict[str, Any],
    history: Sequence[Mapping[str, Any]],
    tasks: Sequence[Mapping[str, Any]],
    validation_digest: str,
) -> Row:
    """Return the row of a run.

    Args:
        values: The parameters of stage `record`, as JSON.
        code: Fingerprint of the code that made the numbers.
        mix: What the samples were drawn from.
        start: What the run started from.
        adapter: Address of its adapter.
        metrics: Its headline numbers.
        history: Its measurements by step.
        tasks: Its scores by task.
        validation_digest: Digest of the tasks that it was measured on.

    Raises:
        ValueError: If the samples were drawn from another dataset than the values name.
    """
    components = [*values["components"].values()]
    named = [(part["tasks"], part["weight"]) for part in components]
    drawn = [(part["table"], part["weight"]) for part in mix["components"]]
    if named != drawn:
        # As after an edit of params.yaml and `dvc repro -s record`.
        raise ValueError(
            f"the samples were drawn from {drawn}, and dataset {values['dataset']!r} is {named};"
            " run: dvc repro"
        )
    names = ("partition", "measure", "audit", "augment", "init_seed", "selection", "checkpoint")
    settings = {name: values[name] for name in names} | {
        "model": values["base"],
        "scale": values["budgets"],
        "metrics_version": metrics["metrics_version"],
        "validation_digest": validation_digest,
    }
    digests = [component["digest"] for component in mix["components"]]
    return Row(
        dataset=values["dataset"],
        model=values["model"],
        scale=values["scale"],
        seed=values["seed"],
        fingerprint=fingerprint(
            code, values["model"], values["scale"], settings, components, digests, start
        ),
        code=code,
        settings_fingerprint=fingerprint(settings),
        settings=settings,
        components=components,
        mix=mix,
        start=start,
        adapter=adapter,
        metrics=metrics,
        history=[
            {name: value for name, value in entry.items() if name not in SPEEDS}
            for entry in history
        ],
        tasks={
            task["task"]: {name: value for name, value in task.items() if name != "task"}
            for task in tasks
        },
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
    )


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


def _check_metrics(path: Path, row: Row) -> None:
    if missing := [name for name in METRICS if name not in row.metrics]:
        raise ValueError(f"{path}: the row has no metric {missing}, got {sorted(row.metrics)}")
