"""The numbers of a run: metrics of the answers, and validation losses of the fine-tune.

docs/metrics.md defines them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field

from arcmix import checked
from arcmix.prediction.selection import RULES, Candidate, Scores, ranked
from arcmix.prediction.tables import Test
from arcmix.scoring import metrics
from arcmix.scoring.losses import Losses, PromptLoss, mean_losses
from arcmix.tasks import Task
from arcmix.training.history import read as read_history

REMEDY = "repeat the stage that writes the table: dvc repro -f -s evaluate"
"""End of the error about a wrong table."""


@checked.STRICT
@dataclass(frozen=True)
class TaskRow:
    """A row of the table of tasks: the metrics of a task, means over its tests."""

    task: checked.TaskId
    tests: checked.Positive
    clean: Annotated[int, Field(ge=0, le=1)]
    accuracy: checked.Share
    correct_pixels: checked.Share
    correct_size: checked.Share
    pass_n: checked.Share
    selected_1: checked.Share
    selected_2: checked.Share
    unanswered: checked.Share
    val_loss: checked.Number | None
    answering_loss_per_cell: checked.Number | None


TASK_COLUMNS = tuple(field.name for field in fields(TaskRow))[3:-2]
"""Metrics in the table of tasks, one column each."""

GROUP_COLUMNS = ("accuracy", "correct_pixels", "pass_n", "selected_1", "selected_2")
"""Metrics in the table of groups, one column each."""

SCORE_COLUMNS = ("metric", "mean", "low", "high", "per_test", "all_tests", "clean")
"""Columns of the table of scores (`metrics.summary`)."""


@checked.STRICT
@dataclass(frozen=True)
class ScoreRow:
    """A row of the table of scores, as the review of results reads it."""

    metric: checked.Name
    mean: checked.Share
    low: checked.Share
    high: checked.Share


@dataclass(frozen=True)
class Answers:
    """The candidates of all validation tests, and the rule that selects among them.

    Raises:
        ValueError: If the rule is `product` and no grid has a score.
    """

    tasks: Sequence[Task]
    """The validation tasks."""
    candidates: Mapping[Test, Sequence[Candidate]]
    """The candidates of each test, by view and rank."""
    scores: Mapping[Test, Scores]
    """The scores of the distinct grids of each test."""
    selection: str
    """The rule that selects the answers."""

    def __post_init__(self) -> None:
        answered = any(one.grid is not None for own in self.candidates.values() for one in own)
        if self.selection == "product" and answered and not any(self.scores.values()):
            raise ValueError(
                "selection product ranks grids by their scores, and the table of scores has none;"
                " set predict.rescore above 0, or choose another selection"
            )

    @property
    def truths(self) -> dict[Test, np.ndarray]:
        """The right answer to each validation test, uint8 (height, width)."""
        return truths(self.tasks)

    @property
    def rules(self) -> list[str]:
        """The rules whose metrics are computed; `product` is left out if no grid has a score."""
        with_scores = any(self.scores.values()) or self.selection == "product"
        return [rule for rule in RULES if rule != "product" or with_scores]

    def test_metrics(self) -> dict[str, list[dict[str, float]]]:
        """Return task -> the metrics of each of its tests."""
        by_task: dict[str, list[dict[str, float]]] = {}
        for test, truth in self.truths.items():
            found = metrics.score_test(
                self.candidates[test],
                truth,
                self.scores[test],
                rules=self.rules,
                selection=self.selection,
            )
            by_task.setdefault(test[0], []).append(found)
        return by_task

    def selected(self) -> dict[str, list[list[np.ndarray]]]:
        """Return task -> for each of its tests, the distinct grids, the best first."""
        return {
            task.id: [
                [
                    choice.grid
                    for choice in ranked(
                        self.selection, self.candidates[task.id, test], self.scores[task.id, test]
                    )
                ]
                for test in range(len(task.test))
            ]
            for task in self.tasks
        }


@dataclass(frozen=True)
class Evaluation:
    """The numbers of a run."""

    headline: dict[str, Any]
    """Name -> value of the headline numbers (`metrics.json`)."""
    scores: pd.DataFrame
    """A row for each metric of the answers (`SCORE_COLUMNS`)."""
    tasks: pd.DataFrame
    """A row for each validation task."""
    groups: pd.DataFrame
    """A row for each group of validation tasks."""


def truths(tasks: Sequence[Task]) -> dict[Test, np.ndarray]:
    """Return test -> its right answer, uint8 (height, width), for all tests of the tasks."""
    return {
        (task.id, number): pair.output for task in tasks for number, pair in enumerate(task.test)
    }


def evaluate(
    answers: Answers,
    prompts: Mapping[int, Sequence[PromptLoss]],
    answering: Sequence[PromptLoss],
    train_loss: float | None,
    adapted: Mapping[str, int],
    seen: Sequence[str],
) -> Evaluation:
    """Return the numbers of a run.

    Args:
        answers: The candidates and the rule that selects among them.
        prompts: Step -> the losses of the validation prompts after this step.
        answering: The losses of the validation prompts of the models that answered them.
        train_loss: The last training loss, in nats per answer token; none without training.
        adapted: Status of test-time fine-tuning -> number of tasks.
        seen: Ids of the tasks that are not clean, because the training data has pairs of them.
    """
    tests = answers.test_metrics()
    means = {task: metrics.mean(own) for task, own in tests.items()}
    clean = [task for task in means if task not in {*seen}]
    scores = metrics.summary(tests, clean)
    curve = {step: mean_losses(found) for step, found in prompts.items()}
    answered = mean_losses(answering)
    headline = (
        _headline(scores)
        | _stop_rate(answers.candidates)
        | _losses(curve, train_loss)
        | _clean_loss(answered.cells, clean)
        | {
            "adapt_failed": adapted.get("failed", 0),
            "adapted_tasks": adapted.get("adapted", 0),
            "answering_loss_per_cell": answered.per_task_cell,
            "answering_val_loss": answered.per_token,
            "clean_tasks": len(clean),
            "metrics_version": metrics.VERSION,
            "val_prompts_kept": len(prompts[0]),
            "val_tasks": len(tests),
            "val_tests": sum(map(len, tests.values())),
        }
    )
    rows = [{"metric": name} | values for name, values in sorted(scores.items())]
    return Evaluation(
        headline,
        pd.DataFrame(rows, columns=[*SCORE_COLUMNS]),
        _task_table(answers.tasks, clean, means, curve[max(curve)].tasks, answered.cells),
        _group_table(answers.tasks, means),
    )


def train_loss(history: Path, prompts: Mapping[int, Sequence[PromptLoss]]) -> float | None:
    """Return the last training loss of the history, in nats per answer token; none without one.

    Args:
        history: The table of measurements.
        prompts: Step -> the losses of the validation prompts after this step.

    Raises:
        ValueError: If the history and the losses belong to different runs.
    """
    found = read_history(history)
    measured = {entry.step: entry.val_loss for entry in found}
    means = {step: mean_losses(losses).per_token for step, losses in prompts.items()}
    # The history has six digits.
    if measured.keys() != means.keys() or not all(
        math.isclose(measured[step], means[step], rel_tol=1e-5) for step in means
    ):
        rounded = {step: float(f"{loss:.6g}") for step, loss in means.items()}
        raise ValueError(
            f"{history}: the validation losses by step are {measured}, but the losses of the"
            f" prompts average to {rounded}; one fine-tune writes both, so repeat it: dvc repro -f"
            " -s finetune"
        )
    return found[-1].train_loss


def read_headline(path: Path) -> dict[str, Any]:
    """Return the headline numbers by name.

    Raises:
        ValueError: If the file has a wrong value.
    """
    found = checked.read_json(path, dict[checked.Name, checked.Number], REMEDY)
    if "metrics_version" not in found:
        raise ValueError(f"{path}: has no metrics_version, got {sorted(found)}; {REMEDY}")
    return found


def read_tasks(path: Path) -> list[TaskRow]:
    """Return the table of tasks.

    Raises:
        ValueError: If the table has a wrong value, no task or a task twice.
    """
    found = checked.read_csv(path, TaskRow, REMEDY)
    if not found or len({row.task for row in found}) < len(found):
        raise ValueError(
            f"{path}: has {len(found)} rows of {len({row.task for row in found})} tasks; there are"
            f" tasks, and each has one row; {REMEDY}"
        )
    return found


def read_scores(path: Path) -> dict[str, dict[str, float]]:
    """Return metric -> its mean over tasks and the interval of the mean, from the table of scores.

    Raises:
        ValueError: If the table has a wrong value.
    """
    rows = checked.read_csv(path, ScoreRow, REMEDY)
    return {row.metric: {"mean": row.mean, "low": row.low, "high": row.high} for row in rows}


def task_losses(path: Path, tasks: Sequence[Task]) -> dict[str, float]:
    """Return task -> validation loss in nats per answer token, from the table of tasks.

    Tasks without a loss are left out.

    Args:
        path: The table.
        tasks: The validation tasks.

    Raises:
        ValueError: If the table has a wrong value, or other tasks.
    """
    rows = read_tasks(path)
    if wrong := {row.task for row in rows} ^ {task.id for task in tasks}:
        raise ValueError(
            f"{path}: task {min(wrong)!r} is in the table or a validation task, but not both;"
            f" {REMEDY}"
        )
    return {row.task: row.val_loss for row in rows if row.val_loss is not None}


def _headline(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the headline numbers of the metrics, given their `metrics.summary`."""
    found = {name: scores[name]["mean"] for name in ("correct_size", "unanswered")}
    for name in metrics.HEADLINE:
        values = scores[name]
        found |= {
            name: values["mean"],
            f"{name}_low": values["low"],
            f"{name}_high": values["high"],
        }
        if "clean" in values:
            found[f"clean_{name}"] = values["clean"]
    return found


def _stop_rate(candidates: Mapping[Test, Sequence[Candidate]]) -> dict[str, float]:
    """Return the share of the answers that ended, or no number if there are no answers."""
    answered = [one for own in candidates.values() for one in own if one.tokens]
    return {"stop_rate": sum(one.ended for one in answered) / len(answered)} if answered else {}


def _losses(curve: Mapping[int, Losses], train_loss: float | None) -> dict[str, float]:
    """Return the headline numbers of the losses, given the mean losses by step."""
    last = max(curve)
    best = min(curve, key=lambda step: curve[step].per_token)
    return {
        "best_val_loss": curve[best].per_token,
        "best_val_step": best,
        "steps": last,
        "val_loss": curve[last].per_token,
        "val_loss_per_cell": curve[last].per_cell,
        "val_loss_per_prompt": curve[last].per_prompt,
        "val_loss_per_task": curve[last].per_task,
        "val_loss_step_0": curve[0].per_token,
    } | ({} if train_loss is None else {"train_loss": train_loss})


def _clean_loss(cells: Mapping[str, float], clean: Sequence[str]) -> dict[str, float]:
    """Return the mean loss per cell over the clean tasks, or no number if none has a loss."""
    found = [cells[task] for task in clean if task in cells]
    return {"clean_answering_loss_per_cell": math.fsum(found) / len(found)} if found else {}


def _task_table(
    tasks: Sequence[Task],
    clean: Sequence[str],
    means: Mapping[str, Mapping[str, float]],
    losses: Mapping[str, float],
    cells: Mapping[str, float],
) -> pd.DataFrame:
    return pd.DataFrame(
        {"task": task.id, "tests": len(task.test), "clean": int(task.id in clean)}
        | {name: means[task.id][name] for name in TASK_COLUMNS}
        | {
            "val_loss": losses.get(task.id, math.nan),
            "answering_loss_per_cell": cells.get(task.id, math.nan),
        }
        for task in tasks
    )


def _group_table(tasks: Sequence[Task], means: Mapping[str, dict[str, float]]) -> pd.DataFrame:
    names = sorted({task.group for task in tasks if task.group is not None})
    members = {name: [means[task.id] for task in tasks if task.group == name] for name in names}
    rows = [
        {"group": name, "tasks": len(found)} | metrics.mean(found)
        for name, found in members.items()
    ]
    return pd.DataFrame(rows, columns=["group", "tasks", *GROUP_COLUMNS])
