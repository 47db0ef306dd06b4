"""Stage `evaluate`: score the answers and sum up the losses.

Reads the validation tasks, the candidates, the losses of the validation prompts, the
history of the fine-tune, what became of each task at test time, and the audit. Writes the
run's metrics and one row of scores for each validation task and for each group of them;
docs/metrics.md defines all.
"""

import logging
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from arcmix import files, program, score
from arcmix.score import Candidate, Losses, PromptLoss
from arcmix.tasks import Task
from arcmix.tasks import read as read_tasks

log = logging.getLogger("arcmix.evaluate")

Test = tuple[str, int]
"""A task's id and the number of its test."""

TASK_SCORES = (
    "accuracy",
    "correct_pixels",
    "correct_size",
    "pass_n",
    "vote_1",
    "vote_2",
    "unanswered",
)
"""Metrics that have a column in the table of tasks, and a mean over the clean ones."""

GROUP_SCORES = ("accuracy", "correct_pixels", "pass_n", "vote_1", "vote_2")
"""Metrics that have a column in the table of groups."""


def run(  # noqa: PLR0913 - a stage's arguments are its files
    *,
    validation: Path,
    candidates: Path,
    losses: Path,
    history: Path,
    adapt: Path,
    audit: Path,
    metrics: Path,
    tasks: Path,
    groups: Path,
) -> None:
    """Score `candidates` and `losses` of `validation` into `metrics`, `tasks` and `groups`."""
    asked = read_tasks(validation)
    tests = {(task.id, number) for task in asked for number in range(len(task.test))}
    scores = _scores(asked, _answers(candidates, tests))
    measured = _measured(losses, tests)
    curve = {step: score.losses(prompts) for step, prompts in measured.items()}
    train_loss = _train_loss(history, curve)

    last = max(curve)
    best = min(curve, key=lambda step: curve[step].per_token)
    values = (
        score.mean(scores.values())
        | {
            "best_val_loss": curve[best].per_token,
            "best_val_step": best,
            "steps": last,
            "train_loss": train_loss,
            "val_loss": curve[last].per_token,
            "val_loss_per_prompt": curve[last].per_prompt,
            "val_loss_per_task": curve[last].per_task,
            "val_loss_step_0": curve[0].per_token,
            "val_prompts_kept": len(measured[last]),
            "val_tasks": len(asked),
            "val_tests": len(tests),
        }
        | _adapted(adapt)
        | _clean(audit, scores)
    )
    files.write_json(metrics, values)
    files.write_csv(tasks, _table(asked, scores, curve[last].tasks))
    files.write_csv(groups, _groups(asked, scores))
    log.info(
        "validation loss %.4f at step 0, %.4f at step %d; vote_2 %.3f over %d tasks",
        curve[0].per_token,
        curve[last].per_token,
        last,
        values["vote_2"],
        len(asked),
    )


def _scores(
    asked: Sequence[Task], answers: Mapping[Test, Sequence[Candidate]]
) -> dict[str, dict[str, float]]:
    return {
        task.id: score.mean(
            [
                score.score_test(answers[task.id, number], pair.output)
                for number, pair in enumerate(task.test)
            ]
        )
        for task in asked
    }


def _adapted(path: Path) -> dict[str, int]:
    """Return how many tasks got an adapter of their own, and how many broke on the way."""
    found = Counter(pd.read_csv(path)["status"])
    return {"adapted_tasks": found["adapted"], "adapt_failed": found["failed"]}


def _clean(audit: Path, scores: Mapping[str, dict[str, float]]) -> dict[str, float]:
    """Return the scores of the clean tasks, of which there may be none."""
    seen = set(files.read_json(audit)["seen"])
    clean = [found for task, found in scores.items() if task not in seen]
    means = score.mean(clean) if clean else {}
    return {"clean_tasks": len(clean)} | {
        f"clean_{name}": means[name] for name in TASK_SCORES if clean
    }


def _table(
    asked: Sequence[Task],
    scores: Mapping[str, Mapping[str, float]],
    losses: Mapping[str, float],
) -> pd.DataFrame:
    return pd.DataFrame(
        {"task": task.id, "tests": len(task.test)}
        | {name: scores[task.id][name] for name in TASK_SCORES}
        | {"val_loss": losses.get(task.id, math.nan)}
        for task in asked
    )


def _groups(asked: Sequence[Task], scores: Mapping[str, dict[str, float]]) -> pd.DataFrame:
    """Return the mean scores of each group of tasks; without groups, a table without rows."""
    names = sorted({task.group for task in asked if task.group is not None})
    members = {name: [scores[task.id] for task in asked if task.group == name] for name in names}
    rows = [
        {"group": name, "tasks": len(found)} | score.mean(found) for name, found in members.items()
    ]
    return pd.DataFrame(rows, columns=["group", "tasks", *GROUP_SCORES])


def _answers(path: Path, tests: Collection[Test]) -> dict[Test, list[Candidate]]:
    """Return the candidates of each test, one for every view."""
    rows = _read(path, ("task", "test", "view"), tests)
    views = max((row["view"] + 1 for row in rows), default=0)
    answers = {test: [score.UNANSWERED] * views for test in tests}
    for row in rows:
        cells, shape = row["grid"], (row["height"], row["width"])
        if cells is None:
            continue
        where = f"{path}: view {row['view']} of test {row['test']} of task {row['task']!r}"
        if None in shape or len(cells) != math.prod(shape):
            raise ValueError(f"{where} has {len(cells)} cells and the shape {shape}")
        if row["tokens"] < 1 or not _finite(row["logprob"]):
            raise ValueError(
                f"{where} has a log-probability of {row['logprob']} over {row['tokens']} tokens;"
                " an answer has an end token at least, and finite logits"
            )
        grid = np.array(cells, np.uint8).reshape(shape)
        answers[row["task"], row["test"]][row["view"]] = Candidate(
            grid, row["logprob"], row["tokens"]
        )
    return answers


def _measured(path: Path, tests: Collection[Test]) -> dict[int, list[PromptLoss]]:
    """Return the losses of the validation prompts by step, from 0 on."""
    measured: dict[int, list[PromptLoss]] = {}
    for row in _read(path, ("step", "task", "test"), tests):
        if row["tokens"] < 1 or not _finite(row["nll"]):
            raise ValueError(
                f"{path}: test {row['test']} of task {row['task']!r} has a loss of {row['nll']}"
                f" over {row['tokens']} tokens at step {row['step']}"
            )
        prompt = PromptLoss(row["task"], row["nll"], row["tokens"])
        measured.setdefault(row["step"], []).append(prompt)
    counts = {step: len(measured[step]) for step in sorted(measured)}
    if 0 not in counts or len(set(counts.values())) > 1:
        raise ValueError(
            f"{path}: every step from 0 on has the same prompts, got {counts} prompts by step"
        )
    return {step: measured[step] for step in counts}


def _finite(value: float | None) -> bool:
    # pandas writes nan as null.
    return value is not None and math.isfinite(value)


def _read(path: Path, keys: Sequence[str], tests: Collection[Test]) -> list[dict[str, Any]]:
    """Read a table with one row for each combination of keys, on known tests.

    Raises:
        ValueError: If a row is on another test, or two rows are of one combination.
    """
    rows = pq.read_table(path).to_pylist()
    if unknown := sorted({(row["task"], row["test"]) for row in rows} - set(tests)):
        raise ValueError(
            f"{path}: {unknown[0]} is not a task and test of validation, nor are"
            f" {len(unknown) - 1} others; the file is of another run, so repeat its stage"
        )
    counts = Counter(tuple(row[key] for key in keys) for row in rows)
    if twice := [found for found, count in counts.items() if count > 1]:
        raise ValueError(
            f"{path}: {len(twice)} of {tuple(keys)} have more than one row, first {twice[0]}"
        )
    return rows


def _train_loss(path: Path, curve: Mapping[int, Losses]) -> float:
    """Return the last training loss of the history, which must tell of the same run."""
    table = pd.read_csv(path)
    written = dict(zip(table["step"], table["val_loss"], strict=True))
    # The history is written with six digits.
    if written.keys() != curve.keys() or not all(
        math.isclose(written[step], curve[step].per_token, rel_tol=1e-5) for step in curve
    ):
        summed = {step: float(f"{losses.per_token:.6g}") for step, losses in curve.items()}
        raise ValueError(
            f"{path}: the validation losses by step are {written}, but the prompts' losses sum"
            f" up to {summed}; one fine-tune writes both, so repeat it"
        )
    return float(table["train_loss"].iloc[-1])


if __name__ == "__main__":
    program.main(run)
