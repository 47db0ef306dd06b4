"""The table of validation losses: written, read, and averaged in four ways.

One row is the loss of one validation prompt after one step of the fine-tune.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from arcmix import files
from arcmix.prediction.tables import Test, finite, read_rows, test_name

COLUMNS = ("step", "task", "test", "nll", "tokens")
"""Columns of the table: `nll` is the negative log-likelihood of the answer in nats, summed over
its `tokens`."""


@dataclass(frozen=True)
class PromptLoss:
    """The loss of one validation prompt."""

    task: str
    """The task it is a test of."""
    nll: float
    """Negative log-likelihood, summed over the answer's tokens, in nats."""
    tokens: int
    """Number of the answer's tokens, its end token included."""
    cells: int
    """Number of the answer's cells."""


@dataclass(frozen=True)
class Losses:
    """What the losses of some prompts come to, in nats per answer token but for `per_cell`."""

    per_token: float
    """Each token weighs the same."""
    per_prompt: float
    """Each prompt weighs the same."""
    per_task: float
    """Each task weighs the same."""
    per_cell: float
    """In nats per cell of the answers, so that other encoders and tokenizers compare."""
    tasks: dict[str, float]
    """Task -> its own loss, in which each token weighs the same."""


def mean_losses(prompts: Sequence[PromptLoss]) -> Losses:
    """Return the losses of at least one prompt; how they were batched cannot matter."""
    by_task: dict[str, list[PromptLoss]] = {}
    for prompt in prompts:
        by_task.setdefault(prompt.task, []).append(prompt)
    tasks = {task: _per_token(own) for task, own in by_task.items()}
    return Losses(
        per_token=_per_token(prompts),
        per_prompt=math.fsum(prompt.nll / prompt.tokens for prompt in prompts) / len(prompts),
        per_task=math.fsum(tasks.values()) / len(tasks),
        per_cell=math.fsum(prompt.nll for prompt in prompts)
        / sum(prompt.cells for prompt in prompts),
        tasks=tasks,
    )


def _per_token(prompts: Sequence[PromptLoss]) -> float:
    return math.fsum(prompt.nll for prompt in prompts) / sum(prompt.tokens for prompt in prompts)


def write(
    path: Path, tests: Sequence[Test], tokens: Sequence[int], curve: Mapping[int, Sequence[float]]
) -> None:
    """Write the losses of all prompts at all measured steps.

    Args:
        path: The table.
        tests: The test of each prompt.
        tokens: Number of answer tokens of each prompt.
        curve: Step -> summed loss of each prompt, in nats.
    """
    rows = [
        (step, *test, nll, count)
        for step, found in curve.items()
        for test, count, nll in zip(tests, tokens, found, strict=True)
    ]
    files.write_parquet(path, pd.DataFrame(rows, columns=[*COLUMNS]))


def read(path: Path, truths: Mapping[Test, np.ndarray]) -> dict[int, list[PromptLoss]]:
    """Return the losses of the prompts by step, in the order of the steps.

    Args:
        path: The table.
        truths: The right answer to each validation test, uint8 (height, width).

    Raises:
        ValueError: If the table is of other tests, if a loss is not finite, or if the steps, of
            which the first is 0, do not all have the same prompts.
    """
    measured: dict[int, list[PromptLoss]] = {}
    prompts: dict[int, set[Test]] = {}
    for row in read_rows(path, COLUMNS, COLUMNS[:3], truths):
        if row["tokens"] < 1 or not finite(row["nll"]):
            raise ValueError(
                f"{path}: {test_name(row)} has a loss of {row['nll']} over {row['tokens']} tokens"
                f" at step {row['step']}; a loss is finite and of one token or more, so repeat the"
                " fine-tune that wrote it"
            )
        test = row["task"], row["test"]
        prompt = PromptLoss(row["task"], row["nll"], row["tokens"], truths[test].size)
        measured.setdefault(row["step"], []).append(prompt)
        prompts.setdefault(row["step"], set()).add(test)
    counts = {step: len(prompts[step]) for step in sorted(prompts)}
    if 0 not in counts or any(found != prompts[0] for found in prompts.values()):
        raise ValueError(
            f"{path}: every step from 0 on has the same prompts, got {counts} prompts by step;"
            " repeat the fine-tune that wrote it"
        )
    return {step: measured[step] for step in counts}
