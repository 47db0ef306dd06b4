"""The results of the committed run, read together."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from arcmix.ledger import records
from arcmix.sampling import audit as audit_report
from arcmix.sampling import partition as split
from arcmix.scoring import evaluation
from arcmix.training import history as history_table
from arcmix.training import outcomes


@dataclass(frozen=True)
class Places:
    """The paths of the results."""

    metrics: Path
    scores: Path
    tasks: Path
    groups: Path
    answers: Path
    history: Path
    partition: Path
    audit: Path
    adapt: Path


@dataclass(frozen=True)
class Results:
    """The results of the committed run."""

    places: Places
    """Their paths."""
    values: Mapping[str, Any]
    """The parameters of stage `record`, as JSON."""
    reads: Mapping[str, str | None]
    """Path of each file that stage `record` read -> its address in `dvc.lock`."""
    metrics: Mapping[str, Any]
    """The headline numbers."""
    tasks: Mapping[str, Mapping[str, Any]]
    """The metrics and losses of each task, as in a row."""
    history: Sequence[Mapping[str, Any]]
    """The measurements by step, as in a row."""
    scores: Mapping[str, Mapping[str, float]]
    """Metric -> its mean and the ends of its interval."""
    measured: Sequence[str]
    """The ids of the validation tasks."""
    digest: str
    """Digest of the validation tasks."""
    seen: Sequence[str]
    """The ids of the tasks that are not clean."""
    adapted: Mapping[str, int]
    """Status of test-time fine-tuning -> number of tasks."""


def read(places: Places, values: Mapping[str, Any], reads: Mapping[str, str | None]) -> Results:
    """Return the results of the committed run.

    Args:
        places: Their paths.
        values: The parameters of stage `record`, as JSON.
        reads: Path of each file that stage `record` read -> its address in `dvc.lock`.

    Raises:
        ValueError: If a file is not one of its kind.
    """
    return Results(
        places,
        values,
        reads,
        metrics=evaluation.read_headline(places.metrics),
        tasks=records.by_task([asdict(one) for one in evaluation.read_tasks(places.tasks)]),
        history=records.by_step([asdict(one) for one in history_table.read(places.history)]),
        scores=evaluation.read_scores(places.scores),
        measured=split.read_measured(places.partition),
        digest=split.read_digest(places.partition),
        seen=audit_report.read(places.audit)["seen"],
        adapted=outcomes.read_statuses(places.adapt),
    )
