"""Rows of the ledger: a file for each run, which git keeps, so that runs can be compared.

A row holds the numbers of a run and everything that made them. Its fingerprint is a hash of all
that made the numbers but the seed. Rows with the same fingerprint are repeats of one experiment.
"""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arcmix import checked, files
from arcmix.fingerprints import LENGTH
from arcmix.ledger import form
from arcmix.machines import Machine

log = logging.getLogger("arcmix.ledger")

VERSION = 6
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
    "answering_val_loss",
    "answering_loss_per_cell",
    "clean_tasks",
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
    data: dict[str, str]
    """Name of each table that the numbers follow from -> its address in DVC's cache."""
    metrics: dict[str, float]
    """The run's numbers."""
    history: list[dict[str, Any]]
    """Losses by optimizer step, without `SPEEDS`."""
    tasks: dict[str, dict[str, Any]]
    """Metrics and loss of each validation task. The loss is None if all prompts are too long."""
    machines: dict[str, dict[str, Any]]
    """Stage -> the machine that it ran on (`machines.Machine`)."""

    @property
    def name(self) -> str:
        """Name of the row: `DATASET/SEED-FINGERPRINT`."""
        return f"{self.dataset}/{self.seed}-{self.fingerprint}"

    @property
    def trained(self) -> bool:
        """Whether the run trained on its dataset; with a budget of 0, it only measured."""
        return self.history[-1]["step"] > 0

    @property
    def saw_validation(self) -> bool | None:
        """Whether the trained adapter saw validation demonstrations, in any stage of training.

        None if it started from an adapter that was not made here, so that nobody knows.
        """
        key = "uses_validation_demonstrations"
        return (self.trained and self.mix[key]) or self.start.get(key, False)


SPEEDS = ("tokens_per_second", "answer_tokens_per_second", "seconds_per_step")
"""Columns of the history that differ between repeats; a row leaves them out."""

NUMBERS = ("metrics", "history", "tasks")
"""Fields of a row that hold the numbers of its run."""

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
    data: dict[str, str],
    metrics: dict[str, Any],
    history: Sequence[Mapping[str, Any]],
    tasks: Sequence[Mapping[str, Any]],
    validation_digest: str,
    machines: Mapping[str, Machine],
) -> Row:
    """Return the row of a run.

    Args:
        values: The parameters of stage `record`, as JSON. `base`, the model, also has the digest
            of a model that is a local folder.
        code: Fingerprint of the code that made the numbers.
        mix: The components that the samples were drawn from (`mix.json`).
        start: The adapter that the run started from (`start.json`).
        adapter: Address of the trained adapter in DVC's cache.
        data: Name of each table that the numbers follow from -> its address in DVC's cache.
        metrics: The headline numbers.
        history: The measurements by step.
        tasks: The metrics and losses by task.
        validation_digest: Digest of the validation tasks.
        machines: Stage -> the machine that it ran on.

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
    settings = settings_of(values, metrics["metrics_version"], validation_digest)
    return Row(
        dataset=values["dataset"],
        model=values["model"],
        scale=values["scale"],
        seed=values["seed"],
        fingerprint=experiment(
            code, values["model"], values["scale"], settings, components, mix, start
        ),
        code=code,
        settings_fingerprint=fingerprint(settings),
        settings=settings,
        components=components,
        mix=mix,
        start=start,
        adapter=adapter,
        data=data,
        metrics=metrics,
        history=by_step(history),
        tasks=by_task(tasks),
        machines={stage: dataclasses.asdict(one) for stage, one in machines.items()},
    )


def chosen(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a row that a user chose, without those that follow from them.

    Args:
        values: The parameters of stage `record`, as JSON.
    """
    names = ("partition", "measure", "audit", "augment", "init_seed", "selection", "checkpoint")
    settings = {name: values[name] for name in names}
    return settings | {"model": values["base"], "scale": values["budgets"]}


def settings_of(
    values: Mapping[str, Any], metrics_version: int, validation_digest: str
) -> dict[str, Any]:
    """Return the settings of a row.

    Args:
        values: The parameters of stage `record`, as JSON.
        metrics_version: Version of the definitions of the metrics.
        validation_digest: Digest of the validation tasks.
    """
    return chosen(values) | {
        "metrics_version": metrics_version,
        "validation_digest": validation_digest,
    }


def by_step(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the measurements by step as a row has them, without `SPEEDS`."""
    return [
        {name: value for name, value in entry.items() if name not in SPEEDS} for entry in history
    ]


def by_task(tasks: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the metrics and losses by task as a row has them."""
    return {
        task["task"]: {name: value for name, value in task.items() if name != "task"}
        for task in tasks
    }


def experiment(
    code: str,
    model: str,
    scale: str,
    settings: Mapping[str, Any],
    components: Sequence[Any],
    mix: Mapping[str, Any],
    start: Mapping[str, Any],
) -> str:
    """Return the fingerprint of a row; the arguments are its fields."""
    digests = [component["digest"] for component in mix["components"]]
    return fingerprint(code, model, scale, settings, components, digests, start)


def place(folder: Path, row: Row) -> Path:
    """Return the path of a row in a ledger."""
    return folder / f"{row.name}.json"


def write(folder: Path, row: Row) -> Path:
    """Write a row into a ledger and return its path.

    Raises:
        ValueError: If `read` would refuse the row, or a link leads out of the ledger.
    """
    path = place(folder, row)
    if path.parent.resolve() != folder.resolve() / row.dataset:
        raise ValueError(
            f"{path.parent}: leads out of the ledger, to {path.parent.resolve()}; a row is in a"
            " folder of the ledger, so remove the link"
        )
    values = {"version": VERSION} | dataclasses.asdict(row)
    _checked(path, json.loads(json.dumps(values)))
    files.write_json(path, values)
    return path


def add(folder: Path, row: Row) -> Row | None:
    """Add a row to a ledger, and return the row that was kept instead of it, if there is one.

    A row is never replaced. If the ledger has a row of the same path and the same numbers, its file
    does not change.

    Raises:
        ValueError: If the ledger has a file at the path of the row that is not a row, or if `write`
            refuses the row.
    """
    path = place(folder, row)
    kept = parse(path, checked.read_text(path, REMEDY)) if path.exists() else None
    if kept is None:
        write(folder, row)
        return None
    return None if equal(kept, row) else kept


def equal(first: Row, second: Row) -> bool:
    """Return whether two rows have the same numbers; their machines may differ."""
    return all(getattr(first, name) == getattr(second, name) for name in NUMBERS)


def read(folder: Path) -> list[Row]:
    """Return the rows of a ledger, ordered by dataset, seed and fingerprint.

    Rows of another version of the format are left out, with a warning.

    Raises:
        ValueError: If a file is not a row, or has the path of another row.
    """
    rows, others = [], []
    for path in sorted(folder.glob("*/*.json")):
        row = parse(path, checked.read_text(path, REMEDY))
        if row is None:
            others.append(path)
        elif path != place(folder, row):
            raise ValueError(
                f"{path}: holds the row of {place(folder, row)}; a row has the path of its dataset,"
                " seed and fingerprint, so remove the file"
            )
        else:
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


def parse(where: object, text: str) -> Row | None:
    """Return the row in a text; None if its format has another version.

    Args:
        where: Name of the text in errors.
        text: The content of a row's file.

    Raises:
        ValueError: If the text is not a row, if a value has not its form (`form.Form`), if a metric
            of the table is missing, or if a fingerprint is not that of the row's values.
    """
    values = checked.parse_json(where, text, dict[str, Any], REMEDY)
    if not {"dataset", "seed", "fingerprint"} <= values.keys():
        raise ValueError(
            f"{where}: not a row of the ledger, got the keys {sorted(values)}; a row has a dataset,"
            " a seed and a fingerprint, so remove the file"
        )
    if values.get("version", 1) != VERSION:
        return None
    return _checked(where, values)


def _checked(where: object, values: dict[str, Any]) -> Row:
    """Return the row with the values of its file."""
    checked.check(where, values, form.Form, REMEDY)
    row = Row(**{name: value for name, value in values.items() if name != "version"})
    if missing := [name for name in METRICS if name not in row.metrics]:
        raise ValueError(
            f"{where}: the row has no metric {missing}, got {sorted(row.metrics)}; the table shows"
            f" {[*METRICS]}, so repeat the run"
        )
    made = {
        "settings_fingerprint": fingerprint(row.settings),
        "fingerprint": experiment(
            row.code, row.model, row.scale, row.settings, row.components, row.mix, row.start
        ),
    }
    for name, expected in made.items():
        if getattr(row, name) != expected:
            raise ValueError(
                f"{where}: {name} is {getattr(row, name)}, but the values of the row have"
                f" {expected}; values were changed after the run, so {REMEDY}"
            )
    return row
