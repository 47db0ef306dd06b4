"""The form of a ledger row: the types of the values in its file.

Rows come from other people's commits, so a row is held against its form before it is used. The
names in a row become paths and parts of tables, figures and commands.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, Strict

from arcmix import checked
from arcmix.machines import Machine
from arcmix.sampling.mix import Mix

Fingerprint = Annotated[str, Field(pattern="^[0-9a-f]{12}$"), Strict()]
"""A fingerprint (`fingerprints.LENGTH`)."""

Address = Annotated[str, Field(pattern=r"^[0-9a-f]{32}\.dir$"), Strict()]
"""The address of a folder in DVC's cache (`store.address`)."""

REFERENCE = r"^[A-Za-z][A-Za-z0-9_-]{0,99}/[0-9]{1,20}-[0-9a-f]{12}$"
"""Pattern of the name of a row: DATASET/SEED-FINGERPRINT."""

Reference = Annotated[str, Field(pattern=REFERENCE), Strict()]
"""The name of a row."""

Hash = Annotated[str, Field(pattern="^[0-9a-f]{32}$"), Strict()]
"""The address of a file in DVC's cache."""

FOLDER = "folder "
"""Before the name of a folder, in the name of an adapter that is no row's."""


@checked.OPEN
@dataclass(frozen=True)
class _Partition:
    seed: checked.Count
    tasks: checked.Positive


@checked.OPEN
@dataclass(frozen=True)
class _Measure:
    source: checked.Name
    part: checked.Name


@checked.OPEN
@dataclass(frozen=True)
class _Audit:
    drop: checked.Name


@checked.OPEN
@dataclass(frozen=True)
class _Prompt:
    format: checked.Text
    encoder: list[checked.Text]


@checked.OPEN
@dataclass(frozen=True)
class _Scale:
    prompt: _Prompt


@checked.OPEN
@dataclass(frozen=True)
class Settings:
    """The settings that the table, the noise and a second stage of training use."""

    partition: _Partition
    measure: _Measure
    audit: _Audit
    model: dict[checked.Text, Any]
    scale: _Scale
    init_seed: checked.Count | Literal["seed"]


@checked.STRICT
@dataclass(frozen=True)
class _NewStart:
    """The start of a run with a new adapter."""

    adapter: Literal["none"]


@checked.STRICT
@dataclass(frozen=True)
class _Earlier:
    """The start of a second stage of training."""

    adapter: Reference
    address: Address
    checkpoint: checked.Name
    optimizer: checked.Name
    uses_validation_demonstrations: checked.Flag | None


@checked.STRICT
@dataclass(frozen=True)
class _Given:
    """The start of a run from an adapter that was not made here, with unknown training data."""

    adapter: Annotated[str, Field(pattern=f"^{FOLDER}[A-Za-z0-9._-]{{1,100}}$"), Strict()]
    address: Address
    optimizer: checked.Name
    uses_validation_demonstrations: None


Start = _NewStart | _Earlier | _Given
"""The adapter that a run started from (`start.json`)."""


@checked.STRICT
@dataclass(frozen=True)
class _Measurement:
    """An entry of the history without its speeds."""

    step: checked.Count
    samples: checked.Count
    epochs: checked.Natural
    answer_tokens: checked.Count
    tokens: checked.Count
    learning_rate: checked.Natural
    train_loss: checked.Number | None
    val_loss: checked.Number


@checked.STRICT
@dataclass(frozen=True)
class Form:
    """A row as it is stored; `records.Row` has the same fields and says what they mean."""

    version: checked.Positive
    dataset: checked.Name
    model: checked.Name
    scale: checked.Name
    seed: checked.Count
    fingerprint: Fingerprint
    code: Fingerprint
    settings_fingerprint: Fingerprint
    settings: Settings
    components: list[dict[checked.Text, Any]]
    mix: Mix
    start: Start
    adapter: Address
    data: Annotated[dict[checked.Name, Hash], Field(min_length=1)]
    metrics: dict[checked.Name, checked.Number]
    history: Annotated[list[_Measurement], Field(min_length=1)]
    tasks: dict[checked.TaskId, dict[checked.Name, checked.Number | None]]
    machines: Annotated[dict[checked.Name, Machine], Field(min_length=1)]


def read_start(path: Path) -> dict[str, Any]:
    """Return the adapter that a run started from.

    Raises:
        ValueError: If the file is no `start.json`.
    """
    return checked.read_json(path, Start, "repeat its stage: dvc repro -f -s fetch_adapter")
