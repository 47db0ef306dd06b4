"""The history of a fine-tune: its measurements by step, as a table."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from arcmix import checked, files

REMEDY = "repeat the fine-tune that wrote it: dvc repro -f -s finetune"
"""End of the error about a wrong history."""


@checked.STRICT
@dataclass(frozen=True)
class Entry:
    """The state of a fine-tune after a step; the fields are the columns of the table."""

    step: checked.Count
    """Number of optimizer steps taken."""
    samples: checked.Count
    """Number of training samples seen."""
    epochs: checked.Natural
    """Number of passes over the training samples that are short enough."""
    answer_tokens: checked.Count
    """Number of trained tokens that carried loss."""
    tokens: checked.Count
    """Number of trained tokens, prompts included."""
    learning_rate: checked.Natural
    """Learning rate of the last step; 0 before the first."""
    train_loss: checked.Number | None
    """Mean loss since the previous measurement, in nats per token that carried loss; none at
    step 0."""
    val_loss: checked.Number
    """Mean loss over all validation prompts, in nats per answer token."""
    tokens_per_second: checked.Natural | None
    """Tokens per second of training since the previous measurement, prompts included; none at
    step 0."""
    answer_tokens_per_second: checked.Natural | None
    """The same for the tokens that carried loss."""
    seconds_per_step: checked.Natural | None
    """Seconds of training per optimizer step since the previous measurement; none at step 0."""


COLUMNS = [field.name for field in dataclasses.fields(Entry)]
"""Columns of the table."""


def write(path: Path, entries: Sequence[Entry]) -> None:
    """Write the table, one row for each entry."""
    rows = [[getattr(one, name) for name in COLUMNS] for one in entries]
    files.write_csv(path, pd.DataFrame(rows, columns=COLUMNS))


def read(path: Path) -> list[Entry]:
    """Return the entries of a table, by ascending step.

    Raises:
        ValueError: If the table has a wrong value, if the steps do not ascend from 0, or if a later
            step has no training loss. Without training, step 0 is the only one.
    """
    found = checked.read_csv(path, Entry, REMEDY)
    steps = [one.step for one in found]
    if steps[:1] != [0] or steps != sorted({*steps}):
        raise ValueError(f"{path}: the steps are {steps}; they ascend from 0; {REMEDY}")
    if without := [one.step for one in found[1:] if one.train_loss is None]:
        raise ValueError(
            f"{path}: step {without[0]} has no training loss; only step 0 has none; {REMEDY}"
        )
    return found
