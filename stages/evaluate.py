"""Stage `evaluate`: select and score the answers and sum up the losses.

Reads the validation tasks, the candidates and their scores, the losses of the validation
prompts, the history of the fine-tune, what became of each task at test time, and the audit.
Writes the run's metrics, one row of scores for each validation task and for each group of them,
and the selected answers in Kaggle's format; docs/metrics.md defines the numbers.
"""

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd

from arcmix import candidates as stored
from arcmix import files, params, program, score, submission
from arcmix.candidates import Test
from arcmix.schema import At, Section
from arcmix.score import Losses, PromptLoss
from arcmix.select import Candidate, Scores, ranked
from arcmix.tasks import Task
from arcmix.tasks import read as read_tasks

log = logging.getLogger("arcmix.evaluate")

TASK_SCORES = (
    "accuracy",
    "correct_pixels",
    "correct_size",
    "pass_n",
    "vote_1",
    "vote_2",
    "selected_1",
    "selected_2",
    "unanswered",
)
"""Metrics that have a column in the table of tasks, and a mean over the clean ones."""

GROUP_SCORES = ("accuracy", "correct_pixels", "pass_n", "vote_1", "vote_2")
"""Metrics that have a column in the table of groups."""

LOSS_COLUMNS = ("step", "task", "test", "nll", "tokens")
"""Columns of the table of losses: one row for a validation prompt at a step."""


class Params(Section):
    """The values that the stage depends on."""

    selection: Annotated[params.Selection, At("selection")]
    """The rule that selects the answers."""


def run(  # noqa: PLR0913 - a stage's arguments are its files
    *,
    config: Params,
    validation: Path,
    candidates: Path,
    scores: Path,
    losses: Path,
    history: Path,
    adapt: Path,
    audit: Path,
    metrics: Path,
    tasks: Path,
    groups: Path,
    answers: Path,
) -> None:
    """Select and score `candidates` of `validation`; write the numbers and the `answers`."""
    asked = read_tasks(validation)
    truths = {
        (task.id, number): pair.output for task in asked for number, pair in enumerate(task.test)
    }
    found = stored.read(candidates, [*truths])
    scored = _scored(scores, found, config.selection)
    tests = _scores(truths, found, scored, config.selection)
    means = {task: score.mean(own) for task, own in tests.items()}
    measured = _measured(losses, truths)
    curve = {step: score.losses(prompts) for step, prompts in measured.items()}
    values = (
        score.summary(tests)
        | _stopped(found)
        | _losses(curve, _train_loss(history, curve))
        | _adapted(adapt)
        | _clean(audit, means)
        | {
            "metrics_version": score.VERSION,
            "val_prompts_kept": len(measured[0]),
            "val_tasks": len(asked),
            "val_tests": len(truths),
        }
    )
    files.write_json(metrics, values)
    files.write_csv(tasks, _table(asked, means, curve[max(curve)].tasks))
    files.write_csv(groups, _groups(asked, means))
    files.write_text(answers, _answers(asked, found, scored, config.selection))
    log.info(
        "validation loss %.4f at step 0, %.4f at step %d; selected_2 %.3f over %d tasks",
        values["val_loss_step_0"],
        values["val_loss"],
        values["steps"],
        values["selected_2"],
        len(asked),
    )


def _scored(
    path: Path, found: Mapping[Test, Sequence[Candidate]], selection: str
) -> dict[Test, dict[int, float]]:
    """Return the scores of the candidates; `product` does not go without any."""
    scored = stored.read_scores(path, found)
    answered = any(candidate.grid is not None for own in found.values() for candidate in own)
    if selection == "product" and answered and not any(scored.values()):
        raise ValueError(
            f"{path}: selection product goes by scores, and there are none; set"
            " scales.SCALE.predict.rescore above 0, or choose another selection"
        )
    return scored


def _scores(
    truths: Mapping[Test, np.ndarray],
    found: Mapping[Test, Sequence[Candidate]],
    scored: Mapping[Test, Scores],
    selection: str,
) -> dict[str, list[dict[str, float]]]:
    """Return the metrics of each test by task; those of `product` only if there are scores."""
    with_scores = any(scored.values()) or selection == "product"
    rules = [rule for rule in score.RULES if rule != "product" or with_scores]
    by_task: dict[str, list[dict[str, float]]] = {}
    for test, truth in truths.items():
        values = score.score_test(
            found[test], truth, scored[test], rules=rules, selection=selection
        )
        by_task.setdefault(test[0], []).append(values)
    return by_task


def _answers(
    asked: Sequence[Task],
    found: Mapping[Test, Sequence[Candidate]],
    scored: Mapping[Test, Scores],
    selection: str,
) -> str:
    """Return the submission."""
    return submission.text(
        {
            task.id: [
                [choice.grid for choice in ranked(selection, found[test], scored[test])]
                for test in ((task.id, number) for number in range(len(task.test)))
            ]
            for task in asked
        }
    )


def _stopped(found: Mapping[Test, Sequence[Candidate]]) -> dict[str, float]:
    """Return the share of the answers that came to an end, if any was begun."""
    begun = [candidate for own in found.values() for candidate in own if candidate.tokens]
    return {"stop_rate": sum(answer.ended for answer in begun) / len(begun)} if begun else {}


def _losses(curve: Mapping[int, Losses], train_loss: float) -> dict[str, float]:
    """Return the metrics of the losses by step."""
    last = max(curve)
    best = min(curve, key=lambda step: curve[step].per_token)
    return {
        "best_val_loss": curve[best].per_token,
        "best_val_step": best,
        "steps": last,
        "train_loss": train_loss,
        "val_loss": curve[last].per_token,
        "val_loss_per_cell": curve[last].per_cell,
        "val_loss_per_prompt": curve[last].per_prompt,
        "val_loss_per_task": curve[last].per_task,
        "val_loss_step_0": curve[0].per_token,
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


def _measured(path: Path, truths: Mapping[Test, np.ndarray]) -> dict[int, list[PromptLoss]]:
    """Return the losses of the validation prompts by step, from 0 on."""
    measured: dict[int, list[PromptLoss]] = {}
    prompts: dict[int, set[Test]] = {}
    for row in stored.read_rows(path, LOSS_COLUMNS, LOSS_COLUMNS[:3], truths):
        if row["tokens"] < 1 or not stored.finite(row["nll"]):
            raise ValueError(
                f"{path}: test {row['test']} of task {row['task']!r} has a loss of {row['nll']}"
                f" over {row['tokens']} tokens at step {row['step']}"
            )
        prompt = PromptLoss(
            row["task"], row["nll"], row["tokens"], truths[row["task"], row["test"]].size
        )
        measured.setdefault(row["step"], []).append(prompt)
        prompts.setdefault(row["step"], set()).add((row["task"], row["test"]))
    counts = {step: len(prompts[step]) for step in sorted(prompts)}
    if 0 not in counts or any(found != prompts[0] for found in prompts.values()):
        raise ValueError(
            f"{path}: every step from 0 on has the same prompts, got {counts} prompts by step"
        )
    return {step: measured[step] for step in counts}


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
