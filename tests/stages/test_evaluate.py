import json
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from arcmix import files, tasks
from arcmix.scoring import metrics
from arcmix.stats import shares
from arcmix.tasks import Pair, Task
from arcmix.training import outcomes
from stages import evaluate
from tests.answers import PLAIN, stored_candidate, write_candidates, write_history, write_scores

ROOT = Path(__file__).parents[2]
NAMES = (
    "validation",
    "candidates",
    "scores",
    "losses",
    "answering_losses",
    "history",
    "adapt",
    "audit",
    "metrics",
    "all_metrics",
    "tasks",
    "groups",
    "answers",
)

# The id 00000001 must stay a text. The task has two tests, so its scores are means.
ONE = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
TWO = np.array([[7], [8]], np.uint8)
OTHER = np.array([[9, 9]], np.uint8)
TASKS = [
    Task("b", "s", "e", 0, (Pair(ONE, TWO),), (Pair(TWO, OTHER),)),
    Task("00000001", "s", "e", 0, (Pair(TWO, ONE),), (Pair(OTHER, ONE), Pair(ONE, TWO))),
]


CANDIDATES = [
    stored_candidate("00000001", 0, 0, ONE, logprob=-2.0),
    stored_candidate("00000001", 0, 1, TWO, logprob=-1.0),
    stored_candidate("00000001", 1, 0, OTHER),
    stored_candidate("00000001", 1, 1, None, tokens=9),
    stored_candidate("b", 0, 0, None, tokens=0, logprob=0.0),
    stored_candidate("b", 0, 1, None, tokens=9),
]
# The prompt of the second test of task 00000001 exceeds the token limit.
LOSSES = [
    (0, "00000001", 0, 8.0, 2),
    (0, "b", 0, 2.0, 8),
    (3, "00000001", 0, 3.0, 2),
    (3, "b", 0, 1.0, 8),
    (5, "00000001", 0, 2.0, 2),
    (5, "b", 0, 2.0, 8),
]
HISTORY = [(0, None, 1.0), (3, 0.9, 0.4), (5, 0.7, 0.4)]
"""Step, training loss and validation loss."""

OUTCOMES = [
    outcomes.as_row("b", outcomes.Outcome("adapted", "all steps done", 8, 6, 0.5, 0.25), 1.5),
    outcomes.as_row("00000001", outcomes.Outcome("failed", "no memory", 2, None, 0.5, None), 0.5),
]


def write(
    folder: Path,
    candidates: list[dict[str, Any]] | None = None,
    scores: Sequence[tuple[str, int, int, int, float]] = (),
    losses: list[tuple] | None = None,
    answering: list[tuple] | None = None,
    history: list[tuple] | None = None,
    seen: Sequence[str] = ("b", "of-another-scale"),
    *,
    selection: str = "vote_logprob",
    adapted: bool = False,
) -> dict[str, Any]:
    """Write the files of a run, with the given changes, and return the arguments of the stage."""
    paths = {name: folder / name for name in NAMES}
    tasks.write(paths["validation"], TASKS)
    write_candidates(paths["candidates"], CANDIDATES if candidates is None else candidates)
    write_scores(paths["scores"], [*scores])
    columns = ["step", "task", "test", "nll", "tokens"]
    files.write_parquet(paths["losses"], pd.DataFrame(losses or LOSSES, columns=columns))
    # The same prompts, half as many nats as before the first step.
    if answering is None:
        first = [row for row in losses or LOSSES if row[0] == 0]
        answering = [(step, task, test, nll / 2, count) for step, task, test, nll, count in first]
    files.write_parquet(paths["answering_losses"], pd.DataFrame(answering, columns=columns))
    measured = {step: (train, loss) for step, train, loss in history or HISTORY}
    write_history(paths["history"], measured)
    outcomes.write(paths["adapt"], OUTCOMES if adapted else [])
    files.write_json(paths["audit"], {"seen": seen, "components": []})
    config = evaluate.Params.model_validate(
        {"selection": selection, "predict": PLAIN | {"views": 2}}
    )
    return {**paths, "config": config}


def ends(name: str, share: float) -> dict[str, Any]:
    """Return the ends of the interval of a share of two tasks."""
    low, high = shares.interval(share, 2)
    return {f"{name}_low": pytest.approx(low), f"{name}_high": pytest.approx(high)}


def test_the_log_compares_two_steps_only_after_a_training(tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO)
    evaluate.run(**write(tmp_path))
    assert re.search(r"validation loss [\d.]+ at step 0, [\d.]+ at step 5, ", caplog.text)
    caplog.clear()
    untrained = [row for row in LOSSES if row[0] == 0]
    evaluate.run(**write(tmp_path, losses=untrained, history=HISTORY[:1]))
    assert re.search(r"validation loss [\d.]+ at step 0, nothing was trained, ", caplog.text)
    assert caplog.text.count("at step") == 1


def test_run_writes_the_metrics(tmp_path: Path) -> None:
    paths = write(tmp_path)
    evaluate.run(**paths)
    assert json.loads(paths["metrics"].read_text()) == {
        # One task of two has one right view of two in one test of two. The other task is not clean.
        "accuracy": 1 / 8,
        **ends("accuracy", 1 / 8),
        "clean_accuracy": 1 / 4,
        "correct_pixels": 1 / 8,
        **ends("correct_pixels", 1 / 8),
        "clean_correct_pixels": 1 / 4,
        "pass_n": 1 / 4,
        **ends("pass_n", 1 / 4),
        "clean_pass_n": 1 / 2,
        # The right grid is the first, and a more confident one follows.
        "selected_1": 0,
        **ends("selected_1", 0),
        "clean_selected_1": 0,
        "selected_2": 1 / 4,
        **ends("selected_2", 1 / 4),
        "clean_selected_2": 1 / 2,
        "correct_size": 1 / 8,
        "unanswered": (1 / 4 + 1) / 2,
        # One view of six has no answer.
        "stop_rate": 3 / 5,
        "metrics_version": metrics.VERSION,
        "adapted_tasks": 0,
        # 4 nats for 6 cells in one task, 1 nat for 2 cells in the other.
        "answering_loss_per_cell": pytest.approx((4 / 6 + 1 / 2) / 2),
        "clean_answering_loss_per_cell": pytest.approx(4 / 6),
        "answering_val_loss": (8 + 2) / 2 / (2 + 8),
        "adapt_failed": 0,
        "clean_tasks": 1,
        "best_val_loss": 0.4,
        "best_val_step": 3,
        "steps": 5,
        "train_loss": 0.7,
        "val_loss": 0.4,
        "val_loss_per_cell": pytest.approx(4 / 8),
        "val_loss_per_prompt": pytest.approx((1 + 0.25) / 2),
        "val_loss_per_task": pytest.approx((1 + 0.25) / 2),
        "val_loss_step_0": 1,
        "val_prompts_kept": 2,
        "val_tasks": 2,
        "val_tests": 3,
    }


def scores_of(paths: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the table of all metrics: metric -> column -> value."""
    return pd.read_csv(paths["all_metrics"], index_col="metric").to_dict("index")


def test_run_writes_a_row_for_each_metric_ordered_by_name(
    tmp_path: Path,
) -> None:
    paths = write(tmp_path)
    evaluate.run(**paths)
    found = scores_of(paths)
    assert [*found] == sorted(found)
    assert {name: values["mean"] for name, values in found.items()} == {
        "accuracy": 1 / 8,
        "correct_pixels": 1 / 8,
        "max_correct_pixels": 1 / 4,
        "correct_size": 1 / 8,
        "any_correct_size": 1 / 4,
        "pass_n": 1 / 4,
        "random2": 3 / 16,
        "unanswered": (1 / 4 + 1) / 2,
        "vote_count_1": 1 / 4,
        "vote_count_2": 1 / 4,
        "vote_logprob_1": 0,
        "vote_logprob_2": 1 / 4,
        "best_1": 0,
        "best_2": 1 / 4,
        "selected_1": 0,
        "selected_2": 1 / 4,
        "best_of_two": 1 / 4,
        "best_of_two_pixels": 1 / 4,
        "best_of_two_size": 1 / 4,
        "best_of_two_unanswered": (1 / 4 + 1) / 2,
    }
    assert found["vote_logprob_2"] == {
        "mean": 1 / 4,
        "low": pytest.approx(shares.interval(1 / 4, 2)[0], rel=1e-5),
        "high": pytest.approx(shares.interval(1 / 4, 2)[1], rel=1e-5),
        "per_test": pytest.approx(1 / 3, rel=1e-5),
        "all_tests": 0,
        "clean": 1 / 2,
    }


def test_run_counts_the_outcomes_of_test_time_fine_tuning(tmp_path: Path) -> None:
    paths = write(tmp_path, adapted=True)
    evaluate.run(**paths)
    metrics = json.loads(paths["metrics"].read_text())
    assert (metrics["adapted_tasks"], metrics["adapt_failed"]) == (1, 1)


def test_clean_scores_equal_the_scores_if_every_task_is_clean(tmp_path: Path) -> None:
    paths = write(tmp_path, seen=[])
    evaluate.run(**paths)
    metrics = json.loads(paths["metrics"].read_text())
    assert metrics["clean_tasks"] == metrics["val_tasks"]
    assert all(row["clean"] == row["mean"] for row in scores_of(paths).values())


def test_without_clean_tasks_there_is_no_clean_score(tmp_path: Path) -> None:
    paths = write(tmp_path, seen=["b", "00000001"])
    evaluate.run(**paths)
    metrics = json.loads(paths["metrics"].read_text())
    assert {name for name in metrics if name.startswith("clean")} == {"clean_tasks"}
    assert metrics["clean_tasks"] == 0
    assert pd.read_csv(paths["all_metrics"]).clean.isna().all()


def test_run_writes_a_row_for_each_task_in_the_order_of_the_validation_tasks(
    tmp_path: Path,
) -> None:
    paths = write(tmp_path)
    evaluate.run(**paths)
    assert paths["tasks"].read_text() == (
        "task,tests,clean,accuracy,correct_pixels,correct_size,pass_n,selected_1,selected_2,"
        "unanswered,val_loss,answering_loss_per_cell\n"
        "b,1,0,0,0,0,0,0,0,1,0.25,0.5\n"
        "00000001,2,1,0.25,0.25,0.25,0.5,0,0.5,0.25,1,0.666667\n"
    )


def grouped(tmp_path: Path, **groups: str) -> str:
    """Return the table of groups, given the group of each task."""
    paths = write(tmp_path)
    found = [replace(task, group=groups.get(f"_{task.id}")) for task in TASKS]
    tasks.write(paths["validation"], found)
    evaluate.run(**paths)
    return paths["groups"].read_text()


HEADER = "group,tasks,accuracy,correct_pixels,pass_n,selected_1,selected_2\n"


def test_tasks_without_groups_have_a_table_of_groups_without_rows(tmp_path: Path) -> None:
    assert grouped(tmp_path) == HEADER


def test_a_row_of_a_group_is_the_mean_of_its_tasks(tmp_path: Path) -> None:
    assert grouped(tmp_path, _b="one", _00000001="one") == (
        f"{HEADER}one,2,0.125,0.125,0.25,0,0.25\n"
    )


def test_groups_are_ordered_by_name(tmp_path: Path) -> None:
    assert grouped(tmp_path, _b="b", _00000001="a") == (
        f"{HEADER}a,1,0.25,0.25,0.5,0,0.5\nb,1,0,0,0,0,0\n"
    )


def test_a_task_without_a_group_is_in_none(tmp_path: Path) -> None:
    assert grouped(tmp_path, _00000001="1d_fill") == f"{HEADER}1d_fill,1,0.25,0.25,0.5,0,0.5\n"


def test_run_writes_a_submission_with_every_task_in_order(tmp_path: Path) -> None:
    paths = write(tmp_path)
    evaluate.run(**paths)
    values = json.loads(paths["answers"].read_text())
    none = [[0, 0], [0, 0]]
    assert [*values] == ["b", "00000001"]
    assert values["b"] == [{"attempt_1": none, "attempt_2": none}]
    assert values["00000001"] == [
        {"attempt_1": TWO.tolist(), "attempt_2": ONE.tolist()},
        {"attempt_1": OTHER.tolist(), "attempt_2": none},
    ]


def test_another_selection_changes_only_the_submission_and_its_score(tmp_path: Path) -> None:
    found, tables = {}, {}
    for rule in ("vote_logprob", "vote_count"):
        paths = write(tmp_path / rule, selection=rule)
        evaluate.run(**paths)
        found[rule], tables[rule] = json.loads(paths["metrics"].read_text()), scores_of(paths)
        values = json.loads(paths["answers"].read_text())
        first = values["00000001"][0]["attempt_1"]
        assert first == (ONE if rule == "vote_count" else TWO).tolist()
    before, after = found.values()
    assert (before["selected_1"], after["selected_1"]) == (0, 1 / 4)
    changed = {name for name in before if before[name] != after[name]}
    assert {name for name in changed if "selected_1" not in name} == set()
    before, after = tables.values()
    assert {name for name in before if before[name] != after[name]} == {"selected_1"}


def test_the_product_has_metrics_if_grids_have_scores(tmp_path: Path) -> None:
    scores = [("00000001", 0, number, view, -3.0 + number) for number in (0, 1) for view in (0, 1)]
    paths = write(tmp_path, scores=scores, selection="product")
    evaluate.run(**paths)
    metrics = scores_of(paths)
    assert [metrics[f"{name}_1"]["mean"] for name in ("product", "selected")] == [0, 0]
    assert [metrics[f"{name}_2"]["mean"] for name in ("product", "selected")] == [1 / 4, 1 / 4]


def test_a_run_without_any_answer_scores_zero_by_every_rule(tmp_path: Path) -> None:
    nothing = {"grid": None, "height": None, "width": None, "tokens": 0, "ended": False}
    rows = [row | nothing for row in CANDIDATES]
    paths = write(tmp_path, candidates=rows, selection="product")
    evaluate.run(**paths)
    metrics = json.loads(paths["metrics"].read_text())
    assert (metrics["unanswered"], metrics["selected_2"]) == (1, 0)
    assert "stop_rate" not in metrics
    names = ("vote_count_2", "vote_logprob_2", "best_2", "product_2")
    assert [scores_of(paths)[name]["mean"] for name in names] == [0, 0, 0, 0]


def test_all_candidates_of_a_view_have_the_same_weight(tmp_path: Path) -> None:
    more = stored_candidate("00000001", 0, 1, ONE, rank=1)
    paths = write(tmp_path, candidates=[*CANDIDATES, more])
    evaluate.run(**paths)
    metrics = json.loads(paths["metrics"].read_text())
    assert metrics["accuracy"] == pytest.approx(2 / 3 / 4)
    assert metrics["selected_1"] == 1 / 4


def test_the_order_of_the_rows_does_not_matter(tmp_path: Path) -> None:
    found = []
    for name, step in (("forwards", 1), ("backwards", -1)):
        paths = write(tmp_path / name, CANDIDATES[::step], losses=LOSSES[::step])
        evaluate.run(**paths)
        found.append([paths[output].read_text() for output in ("metrics", "all_metrics", "tasks")])
    assert found[0] == found[1]


def test_a_task_whose_prompts_are_too_long_has_scores_and_no_loss(tmp_path: Path) -> None:
    losses = [row for row in LOSSES if row[1] == "b"]
    history = [(*row[:-1], loss) for row, loss in zip(HISTORY, (0.25, 0.125, 0.25), strict=True)]
    paths = write(tmp_path, losses=losses, history=history)
    evaluate.run(**paths)
    metrics = json.loads(paths["metrics"].read_text())
    assert (metrics["val_prompts_kept"], metrics["val_tasks"]) == (1, 2)
    assert paths["tasks"].read_text().endswith("00000001,2,1,0.25,0.25,0.25,0.5,0,0.5,0.25,,\n")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param(
            {"candidates": CANDIDATES[:-1]},
            "candidates: test 0 of task 'b' has no row of view and rank (1, 0)",
            id="candidate-missing",
        ),
        pytest.param(
            {"scores": [("b", 0, 0, 0, -1.0)]},
            "scores: test 0 of task 'b' has scores of the candidates [0] of 0",
            id="score-of-no-candidate",
        ),
        pytest.param(
            {"selection": "product"},
            "selection product ranks grids by their scores, and the table of scores has none;"
            " set predict.rescore above 0, or choose another selection",
            id="product-without-scores",
        ),
        pytest.param(
            {"losses": [*LOSSES, (5, "c", 0, 1.0, 1)]},
            "losses: ('c', 0) is not a validation task and one of its tests",
            id="loss-of-another-task",
        ),
        pytest.param(
            {"answering": [(0, "b", 0, 2.0, 8)]},
            "answering_losses: the models that answered were measured on 1 prompts, and the"
            " fine-tune on 2, or on others",
            id="answering-losses-of-other-prompts",
        ),
        pytest.param(
            {"losses": LOSSES[:-1]},
            "the steps have different prompts or step 0 is missing, got {0: 2, 3: 2, 5: 1}",
            id="prompt-missing-at-a-step",
        ),
        pytest.param(
            {"losses": [*LOSSES[:-1], (5, "00000001", 1, 2.0, 8)]},
            "the steps have different prompts or step 0 is missing, got {0: 2, 3: 2, 5: 2}",
            id="another-prompt-at-a-step",
        ),
        pytest.param(
            {"history": [*HISTORY[:-1], (*HISTORY[-1][:-1], 0.401)]},
            "the validation losses by step are {0: 1.0, 3: 0.4, 5: 0.401}, but the"
            " losses of the prompts average to {0: 1.0, 3: 0.4, 5: 0.4}",
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
    paths = write(tmp_path, scores=[("00000001", 0, 0, 0, -3.0)])
    evaluate.run(**paths)
    text = (ROOT / "docs/metrics.md").read_text()
    cells = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", text, re.MULTILINE)
    defined = [name for cell in cells for name in re.findall(r"\w+", cell)]
    assert sorted(defined) == sorted({*json.loads(paths["metrics"].read_text()), *scores_of(paths)})
