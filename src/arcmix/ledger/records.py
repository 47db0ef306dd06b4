"""Rows of the ledger: a file for each run, which git keeps, so that runs can be compared.

A row holds the numbers of a run and everything that made them. Its fingerprint is a hash of all
that made the numbers but the seed. Rows with the same fingerprint are repeats of one experiment.
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
from arcmix.fingerprints import LENGTH

log = logging.getLogger("arcmix.ledger")

VERSION = 3
"""Version of the format of a row; it increases with every change of the fields. Rows before
version 2 have no version."""

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
    """A run."""

    dataset: str
    """Name of the training dataset."""
    model: str
    """Name of the base model."""
    scale: str
    """Name of the scale."""
    seed: int
    """The experiment's seed."""
    fingerprint: str
    """Hash of all that makes the numbers but the seed; repeats of an experiment share it."""
    code: str
    """Fingerprint of the code that made the numbers (`fingerprints.fingerprint`)."""
    settings_fingerprint: str
    """Hash of `settings`. Rows with the same hash and the same `code` can be compared."""
    settings: dict[str, Any]
    """Values of the partition, the augmentation, the model, the scale and the selection, and the
    version of the metrics."""
    components: list[dict[str, Any]]
    """The dataset's entry in `params.yaml`."""
    mix: dict[str, Any]
    """Counts of the tasks and samples of each component (`mix.json`)."""
    start: dict[str, Any]
    """The adapter that the run started from (`start.json`)."""
    adapter: str
    """Address of the trained adapter in DVC's cache (`store.address`)."""
    metrics: dict[str, float]
    """The run's numbers."""
    history: list[dict[str, Any]]
    """Losses by optimizer step, without `SPEEDS`."""
    tasks: dict[str, dict[str, Any]]
    """Metrics and loss of each validation task. The loss is None if all prompts are too long."""
    packages: dict[str, str]
    """Versions of `PACKAGES`."""


PACKAGES = ("peft", "torch", "transformers", "trl")
"""Libraries whose versions may change a number."""

SPEEDS = ("tokens_per_second", "answer_tokens_per_second", "seconds_per_step")
"""Columns of the history that differ between repeats; a row leaves them out."""

REMEDY = "remove the file and repeat its run, or read it with the code of its commit"
"""End of the error about a row that this version cannot read."""


def fingerprint(*values: Any) -> str:  # noqa: ANN401
    """Return a hash of JSON values, `LENGTH` hexadecimal digits."""
    text = json.dumps(values, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def make(  # noqa: PLR0913 - one argument for each part of a row
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
        mix: The components that the samples were drawn from (`mix.json`).
        start: The adapter that the run started from (`start.json`).
        adapter: Address of the trained adapter in DVC's cache.
        metrics: The headline numbers.
        history: The measurements by step.
        tasks: The metrics and losses by task.
        validation_digest: Digest of the validation tasks.

    Raises:
        ValueError: If the samples were drawn from another dataset than `values` names.
    """
    components = [*values["components"].values()]
    named = [(part["tasks"], part["weight"]) for part in components]
    drawn = [(part["table"], part["weight"]) for part in mix["components"]]
    if named != drawn:
        # This happens after an edit of params.yaml and `dvc repro -s record`.
        raise ValueError(
            f"the samples were drawn from {drawn}, and dataset {values['dataset']!r} is {named};"
            " both must be the same, so run: dvc repro"
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
    """Return the path of a row in a ledger."""
    return folder / row.dataset / f"{row.seed}-{row.fingerprint}.json"


def write(folder: Path, row: Row) -> Path:
    """Write a row into a ledger and return its path.

    Raises:
        ValueError: If the row lacks a metric that the table shows.
    """
    path = place(folder, row)
    _check_metrics(path, row)
    files.write_json(path, {"version": VERSION} | dataclasses.asdict(row))
    return path


def read(folder: Path) -> list[Row]:
    """Return the rows of a ledger, ordered by dataset, seed and fingerprint.

    Rows of another version of the format are left out, with a warning.

    Raises:
        ValueError: If a file is not a row, lacks a field or a metric that the table shows, or has
            the path of another row.
    """
    rows, others = [], []
    fields = {field.name for field in dataclasses.fields(Row)}
    for path in sorted(folder.glob("*/*.json")):
        values = files.read_json(path)
        if not isinstance(values, dict) or not {"dataset", "seed", "fingerprint"} <= values.keys():
            raise ValueError(
                f"{path}: not a row of the ledger, got {_described(values)}; a row has a dataset, a"
                " seed and a fingerprint, so remove the file"
            )
        if values.pop("version", 1) != VERSION:
            others.append(path)
            continue
        if values.keys() != fields:
            missing, unknown = sorted(fields - values.keys()), sorted(values.keys() - fields)
            raise ValueError(
                f"{path}: the row has missing fields {missing} and unknown fields {unknown};"
                f" {REMEDY}"
            )
        row = Row(**values)
        if path != place(folder, row):
            raise ValueError(
                f"{path}: holds the row of {place(folder, row)}; a row has the path of its dataset,"
                " seed and fingerprint, so remove the file"
            )
        _check_metrics(path, row)
        rows.append(row)
    if others:
        log.warning(
            "left out %d rows whose format has another version than %d, first %s; %s",
            len(others),
            VERSION,
            others[0],
            REMEDY,
        )
    return sorted(rows, key=lambda row: (row.dataset, row.seed, row.fingerprint))


def _check_metrics(path: Path, row: Row) -> None:
    if missing := [name for name in METRICS if name not in row.metrics]:
        raise ValueError(
            f"{path}: the row has no metric {missing}, got {sorted(row.metrics)}; the table shows"
            f" {[*METRICS]}, so repeat the run"
        )


def _described(values: object) -> str:
    """Return the keys of a map, or the type of another value, for an error."""
    return f"the keys {sorted(values)}" if isinstance(values, dict) else type(values).__name__
