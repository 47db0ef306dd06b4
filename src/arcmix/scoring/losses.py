"""The table of validation losses, and four means of the losses.

A row is the loss of one validation prompt after one step of the fine-tune. The same table holds the
losses of the models that answered the prompts, as those of step 0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from arcmix import checked, files
from arcmix.prediction.tables import Test, read_rows

REMEDY = "repeat the fine-tune that wrote the table: dvc repro -f -s finetune"
"""End of the error about a wrong table."""


@checked.STRICT
@dataclass(frozen=True)
class Row:
    """A row of the table."""

    step: checked.Count
    """Number of optimizer steps taken."""
    task: checked.TaskId
    """Id of the task."""
    test: checked.Count
    """Number of its test."""
    nll: checked.Number
    """Negative log-likelihood of the answer, summed over its tokens, in nats."""
    tokens: checked.Positive
    """Number of the answer's tokens, the end token included."""


COLUMNS = tuple(field.name for field in fields(Row))
"""Columns of the table."""


@dataclass(frozen=True)
class PromptLoss:
    """The loss of one validation prompt."""

    task: str
    """Id of the task."""
    nll: float
    """Negative log-likelihood of the answer, summed over its tokens, in nats."""
    tokens: int
    """Number of the answer's tokens, the end token included."""
    cells: int
    """Number of the answer's cells."""


@dataclass(frozen=True)
class Losses:
    """Mean losses of some prompts."""

    per_token: float
    """Nats per answer token; all tokens have the same weight."""
    per_prompt: float
    """Nats per answer token; all prompts have the same weight."""
    per_task: float
    """Nats per answer token; all tasks have the same weight."""
    per_cell: float
    """Nats per cell of the answers; comparable between encoders and tokenizers."""
    per_task_cell: float
    """Nats per cell of the answers; all tasks have the same weight."""
    tasks: dict[str, float]
    """Task -> its loss in nats per answer token; all its tokens have the same weight."""
    cells: dict[str, float]
    """Task -> its loss in nats per cell of its answers; all its cells have the same weight."""


def mean_losses(prompts: Sequence[PromptLoss]) -> Losses:
    """Return the mean losses of one prompt or more; the order of the prompts does not matter."""
    by_task: dict[str, list[PromptLoss]] = {}
    for prompt in prompts:
        by_task.setdefault(prompt.task, []).append(prompt)
    tasks = {task: _per_token(own) for task, own in by_task.items()}
    cells = {task: _per_cell(own) for task, own in by_task.items()}
    return Losses(
        per_token=_per_token(prompts),
        per_prompt=math.fsum(prompt.nll / prompt.tokens for prompt in prompts) / len(prompts),
        per_task=math.fsum(tasks.values()) / len(tasks),
        per_cell=_per_cell(prompts),
        per_task_cell=math.fsum(cells.values()) / len(cells),
        tasks=tasks,
        cells=cells,
    )


def _per_token(prompts: Sequence[PromptLoss]) -> float:
    return math.fsum(prompt.nll for prompt in prompts) / sum(prompt.tokens for prompt in prompts)


def _per_cell(prompts: Sequence[PromptLoss]) -> float:
    return math.fsum(prompt.nll for prompt in prompts) / sum(prompt.cells for prompt in prompts)


def write(
    path: Path, tests: Sequence[Test], tokens: Sequence[int], curve: Mapping[int, Sequence[float]]
) -> None:
    """Write the table.

    Args:
        path: The table.
        tests: The test of each prompt.
        tokens: Number of answer tokens of each prompt.
        curve: Step -> negative log-likelihood of each prompt's answer, in nats.
    """
    rows = [
        (step, *test, nll, count)
        for step, found in curve.items()
        for test, count, nll in zip(tests, tokens, found, strict=True)
    ]
    files.write_parquet(path, pd.DataFrame(rows, columns=[*COLUMNS]))


def read(path: Path, truths: Mapping[Test, np.ndarray]) -> dict[int, list[PromptLoss]]:
    """Return step -> the losses of the prompts, by ascending step.

    Args:
        path: The table.
        truths: Test -> its right answer, uint8 (height, width), for all validation tests.

    Raises:
        ValueError: If the table has other tests, if a loss is not finite, if step 0 is missing, or
            if the steps have different prompts.
    """
    measured: dict[int, list[PromptLoss]] = {}
    prompts: dict[int, set[Test]] = {}
    for row in read_rows(path, Row, COLUMNS[:3], truths, REMEDY):
        test = row.task, row.test
        prompt = PromptLoss(row.task, row.nll, row.tokens, truths[test].size)
        measured.setdefault(row.step, []).append(prompt)
        prompts.setdefault(row.step, set()).add(test)
    counts = {step: len(prompts[step]) for step in sorted(prompts)}
    if 0 not in counts or any(found != prompts[0] for found in prompts.values()):
        raise ValueError(
            f"{path}: the steps have different prompts or step 0 is missing, got {counts} prompts"
            f" by step; every step from 0 on has the same prompts; {REMEDY}"
        )
    return {step: measured[step] for step in counts}


def read_answering(
    path: Path, truths: Mapping[Test, np.ndarray], measured: Sequence[PromptLoss]
) -> list[PromptLoss]:
    """Return the losses of the models that answered the prompts.

    Args:
        path: The table, with step 0 only.
        truths: As in `read`.
        measured: The losses of the same prompts in the fine-tune.

    Raises:
        ValueError: As in `read`, and if the prompts are not those of the fine-tune.
    """
    found = read(path, truths)[0]
    here, there = (
        sorted((one.task, one.tokens, one.cells) for one in prompts)
        for prompts in (found, measured)
    )
    if here != there:
        raise ValueError(
            f"{path}: the models that answered were measured on {len(here)} prompts, and the"
            f" fine-tune on {len(there)}, or on others; both must be the same, so run: dvc repro"
        )
    return found
