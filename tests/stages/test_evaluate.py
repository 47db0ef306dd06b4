import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from arcmix import files, tasks
from arcmix.tasks import Pair, Task
from stages import evaluate

ROOT = Path(__file__).parents[2]
INPUTS = ("validation", "candidates", "losses", "history", "adapt", "audit")
NAMES = (*INPUTS, "metrics", "tasks", "groups")

# Task 00000001 has two tests, so that its id must stay a text and its scores are means.
ONE = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
TWO = np.array([[7], [8]], np.uint8)
OTHER = np.array([[9, 9]], np.uint8)
TASKS = [
    Task("b", "s", "e", 0, (Pair(ONE, TWO),), (Pair(TWO, OTHER),)),
    Task("00000001", "s", "e", 0, (Pair(TWO, ONE),), (Pair(OTHER, ONE), Pair(ONE, TWO))),
]


def candidate(
    task: str, test: int, view: int, grid: np.ndarray | None, logprob: float = -1.0
) -> dict[str, Any]:
    return {
        "task": task,
        "test": test,
        "view": view,
        "grid": None if grid is None else grid.reshape(-1),
        "height": None if grid is None else grid.shape[0],
        "width": None if grid is None else grid.shape[1],
        "logprob": logprob,
        "tokens": 0 if grid is None else 5,
    }


CANDIDATES = [
    candidate("00000001", 0, 0, ONE, logprob=-2.0),
    candidate("00000001", 0, 1, TWO, logprob=-1.0),
    candidate("00000001", 1, 0, OTHER),
    candidate("00000001", 1, 1, None),
    candidate("b", 0, 0, None),
    candidate("b", 0, 1, None),
]
# The second test of task 00000001 is over the token limit.
LOSSES = [
    (0, "00000001", 0, 8.0, 2),
    (0, "b", 0, 2.0, 8),
    (3, "00000001", 0, 3.0, 2),
    (3, "b", 0, 1.0, 8),
    (5, "00000001", 0, 2.0, 2),
    (5, "b", 0, 2.0, 8),
]
HISTORY = [
    (0, 0, 0, 0.0, None, 1.0),
    (3, 12, 60, 0.1, 0.9, 0.4),
    (5, 20, 99, 0.05, 0.7, 0.4),
]


def write(
    folder: Path,
    candidates: list[dict[str, Any]] | None = None,
    losses: list[tuple] | None = None,
    history: list[tuple] | None = None,
    seen: Sequence[str] = ("b", "of another scale"),
    *,
    adapted: bool = False,
) -> dict[str, Path]:
    """Write a run's files, the good ones where no others are given."""
    paths = {name: folder / name for name in NAMES}
    tasks.write(paths["validation"], TASKS)
    answers = pd.DataFrame(CANDIDATES if candidates is None else candidates)
    answers = answers.astype({"height": "UInt8", "width": "UInt8"})
    files.write_parquet(paths["candidates"], answers)
    columns = ["step", "task", "test", "nll", "tokens"]
    files.write_parquet(paths["losses"], pd.DataFrame(losses or LOSSES, columns=columns))
    columns = ["step", "samples", "answer_tokens", "learning_rate", "train_loss", "val_loss"]
    files.write_csv(paths["history"], pd.DataFrame(history or HISTORY, columns=columns))
    statuses = pd.DataFrame({"task": ["b", "00000001"], "status": ["adapted", "failed"]})
    files.write_csv(paths["adapt"], statuses if adapted else statuses.head(0))
    files.write_json(paths["audit"], {"seen": seen})
    return paths


def test_run_writes_the_metrics(tmp_path: Path) -> None:
    paths = write(tmp_path)
    evaluate.run(**paths)
    assert json.loads(paths["metrics"].read_text()) == {
        # One of two views of one of two tests of one of two tasks.
        "accuracy": 1 / 8,
        "correct_pixels": 1 / 8,
        "max_correct_pixels": 1 / 4,
        "correct_size": 1 / 8,
        "any_correct_size": 1 / 4,
        "pass_n": 1 / 4,
        "vote_1": 0,
        "vote_2": 1 / 4,
        "unanswered": (1 / 4 + 1) / 2,
        "adapted_tasks": 0,
        "adapt_failed": 0,
        # The other task is not clean.
        "clean_tasks": 1,
        "clean_accuracy": 1 / 4,
        "clean_correct_pixels": 1 / 4,
        "clean_correct_size": 1 / 4,
        "clean_pass_n": 1 / 2,
        "clean_vote_1": 0,
        "clean_vote_2": 1 / 2,
        "clean_unanswered": 1 / 4,
        "best_val_loss": 0.4,
        "best_val_step": 3,
        "steps": 5,
        "train_loss": 0.7,
        "val_loss": 0.4,
        "val_loss_per_prompt": pytest.approx((1 + 0.25) / 2),
        "val_loss_per_task": pytest.approx((1 + 0.25) / 2),
        "val_loss_step_0": 1,
        "val_prompts_kept": 2,
        "val_tasks": 2,
        "val_tests": 3,
    }


def test_run_counts_what_became_of_the_tasks_at_test_time(tmp_path: Path) -> None:
    paths = write(tmp_path, adapted=True)
    evaluate.run(**paths)
    metrics = json.loads(paths["metrics"].read_text())
    assert (metrics["adapted_tasks"], metrics["adapt_failed"]) == (1, 1)


def test_clean_scores_are_the_scores_where_every_task_is_clean(tmp_path: Path) -> None:
    paths = write(tmp_path, seen=[])
    evaluate.run(**paths)
    metrics = json.loads(paths["metrics"].read_text())
    assert metrics["clean_tasks"] == metrics["val_tasks"]
    assert {metrics[f"clean_{name}"] == metrics[name] for name in evaluate.TASK_SCORES} == {True}


def test_no_clean_task_has_no_clean_score(tmp_path: Path) -> None:
    paths = write(tmp_path, seen=["b", "00000001"])
    evaluate.run(**paths)
    metrics = json.loads(paths["metrics"].read_text())
    assert {name for name in metrics if name.startswith("clean")} == {"clean_tasks"}
    assert metrics["clean_tasks"] == 0


def test_run_writes_a_row_for_each_task_in_the_order_of_the_validation_tasks(
    tmp_path: Path,
) -> None:
    paths = write(tmp_path)
    evaluate.run(**paths)
    assert paths["tasks"].read_text() == (
        "task,tests,accuracy,correct_pixels,correct_size,pass_n,vote_1,vote_2,unanswered,val_loss\n"
        "b,1,0,0,0,0,0,0,1,0.25\n"
        "00000001,2,0.25,0.25,0.25,0.5,0,0.5,0.25,1\n"
    )


def grouped(tmp_path: Path, **groups: str) -> str:
    """Return the table of groups where tasks are in some."""
    paths = write(tmp_path)
    found = [replace(task, group=groups.get(f"_{task.id}")) for task in TASKS]
    tasks.write(paths["validation"], found)
    evaluate.run(**paths)
    return paths["groups"].read_text()


HEADER = "group,tasks,accuracy,correct_pixels,pass_n,vote_1,vote_2\n"


def test_tasks_without_groups_have_a_table_of_groups_without_rows(tmp_path: Path) -> None:
    assert grouped(tmp_path) == HEADER


def test_a_row_of_a_group_is_the_mean_of_its_tasks(tmp_path: Path) -> None:
    assert grouped(tmp_path, _b="one", _00000001="one") == (
        f"{HEADER}one,2,0.125,0.125,0.25,0,0.25\n"
    )


def test_groups_stand_in_the_order_of_their_names(tmp_path: Path) -> None:
    assert grouped(tmp_path, _b="b", _00000001="a") == (
        f"{HEADER}a,1,0.25,0.25,0.5,0,0.5\nb,1,0,0,0,0,0\n"
    )


def test_a_task_without_a_group_is_in_none(tmp_path: Path) -> None:
    assert grouped(tmp_path, _00000001="1d_fill") == f"{HEADER}1d_fill,1,0.25,0.25,0.5,0,0.5\n"


def test_views_without_a_row_count_as_views_without_a_grid(tmp_path: Path) -> None:
    found = []
    for name, rows in (("full", CANDIDATES), ("short", CANDIDATES[:3])):
        paths = write(tmp_path / name, candidates=rows)
        evaluate.run(**paths)
        found.append([paths[output].read_text() for output in ("metrics", "tasks")])
    assert found[0] == found[1]


def test_a_run_without_any_answer_scores_zero(tmp_path: Path) -> None:
    paths = write(tmp_path, candidates=CANDIDATES[3:])
    evaluate.run(**paths)
    metrics = json.loads(paths["metrics"].read_text())
    assert (metrics["unanswered"], metrics["vote_2"], metrics["correct_size"]) == (1, 0, 0)


def test_the_order_of_the_rows_does_not_matter(tmp_path: Path) -> None:
    found = []
    for name, step in (("forwards", 1), ("backwards", -1)):
        paths = write(tmp_path / name, CANDIDATES[::step], LOSSES[::step])
        evaluate.run(**paths)
        found.append([paths[output].read_text() for output in ("metrics", "tasks")])
    assert found[0] == found[1]


def test_a_task_without_a_prompt_that_fits_has_scores_and_no_loss(tmp_path: Path) -> None:
    losses = [row for row in LOSSES if row[1] == "b"]
    history = [(*row[:-1], loss) for row, loss in zip(HISTORY, (0.25, 0.125, 0.25), strict=True)]
    paths = write(tmp_path, losses=losses, history=history)
    evaluate.run(**paths)
    metrics = json.loads(paths["metrics"].read_text())
    assert (metrics["val_prompts_kept"], metrics["val_tasks"]) == (1, 2)
    assert paths["tasks"].read_text().endswith("00000001,2,0.25,0.25,0.25,0.5,0,0.5,0.25,\n")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param(
            {"candidates": [*CANDIDATES, candidate("c", 0, 0, None)]},
            "candidates: ('c', 0) is not a task and test of validation, nor are 0 others",
            id="candidate-of-another-task",
        ),
        pytest.param(
            {"candidates": [*CANDIDATES, candidate("b", 1, 0, None)]},
            "candidates: ('b', 1) is not a task and test of validation",
            id="candidate-of-another-test",
        ),
        pytest.param(
            {"candidates": [*CANDIDATES, CANDIDATES[1]]},
            "candidates: 1 of ('task', 'test', 'view') have more than one row,"
            " first ('00000001', 0, 1)",
            id="candidate-twice",
        ),
        pytest.param(
            {"candidates": [CANDIDATES[0] | {"height": 3}]},
            "view 0 of test 0 of task '00000001' has 6 cells and the shape (3, 3)",
            id="cells-that-do-not-fill-the-shape",
        ),
        pytest.param(
            {"candidates": [CANDIDATES[0] | {"height": None}]},
            "view 0 of test 0 of task '00000001' has 6 cells and the shape (None, 3)",
            id="grid-without-a-height",
        ),
        pytest.param(
            {"candidates": [CANDIDATES[0] | {"logprob": float("nan")}]},
            "has a log-probability of None over 5 tokens",
            id="logprob-not-a-number",
        ),
        pytest.param(
            {"losses": [*LOSSES, (5, "c", 0, 1.0, 1)]},
            "losses: ('c', 0) is not a task and test of validation",
            id="loss-of-another-task",
        ),
        pytest.param(
            {"losses": [*LOSSES, LOSSES[0]]},
            "losses: 1 of ('step', 'task', 'test') have more than one row,"
            " first (0, '00000001', 0)",
            id="loss-twice",
        ),
        pytest.param(
            {"losses": [*LOSSES[:-1], (5, "b", 0, float("nan"), 8)]},
            "test 0 of task 'b' has a loss of None over 8 tokens at step 5",
            id="loss-not-a-number",
        ),
        pytest.param(
            {"losses": [*LOSSES[:-1], (5, "b", 0, float("inf"), 8)]},
            "test 0 of task 'b' has a loss of inf over 8 tokens at step 5",
            id="loss-infinite",
        ),
        pytest.param(
            {"losses": LOSSES[:-1]},
            "every step from 0 on has the same prompts, got {0: 2, 3: 2, 5: 1} prompts by step",
            id="prompt-missing-at-a-step",
        ),
        pytest.param(
            {"losses": LOSSES[2:]},
            "every step from 0 on has the same prompts, got {3: 2, 5: 2} prompts by step",
            id="no-step-0",
        ),
        pytest.param(
            {"history": [*HISTORY[:-1], (*HISTORY[-1][:-1], 0.401)]},
            "the validation losses by step are {0: 1.0, 3: 0.4, 5: 0.401}, but the prompts'"
            " losses sum up to {0: 1.0, 3: 0.4, 5: 0.4}",
            id="history-of-another-run",
        ),
        pytest.param(
            {"history": HISTORY[:-1]},
            "the validation losses by step are {0: 1.0, 3: 0.4}, but",
            id="history-without-the-last-step",
        ),
    ],
)
def test_run_refuses(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    paths = write(tmp_path, **changed)
    with pytest.raises(ValueError, match=re.escape(message)):
        evaluate.run(**paths)
    assert not paths["metrics"].exists()


def test_the_documentation_defines_every_metric(tmp_path: Path) -> None:
    paths = write(tmp_path)
    evaluate.run(**paths)
    defined = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    assert sorted(defined) == sorted(json.loads(paths["metrics"].read_text()))
