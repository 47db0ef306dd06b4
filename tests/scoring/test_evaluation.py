import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from arcmix import files
from arcmix.prediction.selection import RULES
from arcmix.scoring import evaluation, metrics
from arcmix.scoring.evaluation import Answers
from arcmix.scoring.losses import PromptLoss
from arcmix.tasks import Pair, Task
from tests.answers import FAR, NEAR, TRUTH, UNASKED, candidate, write_history

TASKS = [
    Task("b", "s", "e", 0, (Pair(FAR, NEAR),), (Pair(NEAR, FAR),)),
    Task("a", "s", "e", 0, (Pair(FAR, NEAR),), (Pair(FAR, TRUTH), Pair(NEAR, NEAR))),
]
CANDIDATES = {
    ("b", 0): [UNASKED, candidate(TRUTH)],
    ("a", 0): [candidate(NEAR, -2.0), candidate(TRUTH, -1.0)],
    ("a", 1): [candidate(None), UNASKED],
}
NO_SCORES = {test: {} for test in CANDIDATES}
SCORED = NO_SCORES | {("a", 0): {0: -3.0, 1: -4.0}}
PROMPTS = {
    0: [PromptLoss("b", 8.0, 4, 6), PromptLoss("a", 4.0, 4, 6)],
    2: [PromptLoss("b", 2.0, 4, 6), PromptLoss("a", 2.0, 4, 6)],
    5: [PromptLoss("b", 3.0, 4, 6), PromptLoss("a", 1.0, 4, 6)],
}
ANSWERS = Answers(TASKS, CANDIDATES, NO_SCORES, "vote_logprob")


def evaluated(answers: Answers = ANSWERS, seen: list[str] | None = None) -> evaluation.Evaluation:
    return evaluation.evaluate(
        answers, PROMPTS, PROMPTS[0], 0.5, {"adapted": 2, "skipped": 1}, seen or []
    )


def test_truths_has_the_right_answer_of_every_test() -> None:
    found = {test: grid.tolist() for test, grid in ANSWERS.truths.items()}
    assert found == {("b", 0): FAR.tolist(), ("a", 0): TRUTH.tolist(), ("a", 1): NEAR.tolist()}


@pytest.mark.parametrize(
    ("scores", "selection", "rules"),
    [
        (NO_SCORES, "best", [rule for rule in RULES if rule != "product"]),
        (SCORED, "best", [*RULES]),
        (SCORED, "product", [*RULES]),
    ],
)
def test_the_product_has_metrics_if_grids_have_scores(
    scores: dict, selection: str, rules: list[str]
) -> None:
    assert Answers(TASKS, CANDIDATES, scores, selection).rules == rules


def test_the_product_without_scores_is_refused_unless_there_are_no_grids() -> None:
    message = "the table of scores has none; set predict.rescore above 0"
    with pytest.raises(ValueError, match=message):
        Answers(TASKS, CANDIDATES, NO_SCORES, "product")
    nothing = {test: [UNASKED] for test in CANDIDATES}
    assert Answers(TASKS, nothing, NO_SCORES, "product").rules == [*RULES]


@pytest.mark.parametrize(
    ("selection", "first"), [("vote_logprob", TRUTH), ("vote_count", NEAR), ("product", NEAR)]
)
def test_the_selected_grids_are_ranked_by_the_rule(selection: str, first: object) -> None:
    found = Answers(TASKS, CANDIDATES, SCORED, selection).selected()
    assert [*found] == ["b", "a"]
    assert found["a"][0][0] is first
    assert [len(grids) for grids in found["a"]] == [2, 0]


def test_the_headline_has_the_lowest_and_the_last_validation_loss() -> None:
    found = evaluated().headline
    assert (found["best_val_loss"], found["best_val_step"]) == (0.5, 2)
    assert (found["steps"], found["val_loss"], found["val_loss_step_0"]) == (5, 0.5, 1.5)
    assert (found["train_loss"], found["val_prompts_kept"]) == (0.5, 2)
    losses = evaluated().tasks.set_index("task").val_loss
    assert losses.to_dict() == {"b": 0.75, "a": 0.25}


def test_the_loss_per_cell_is_that_of_the_models_that_answer() -> None:
    found = evaluated()
    losses = found.tasks.set_index("task").answering_loss_per_cell
    # Six cells each.
    assert losses.to_dict() == {"b": pytest.approx(8 / 6), "a": pytest.approx(4 / 6)}
    assert found.headline["answering_loss_per_cell"] == pytest.approx(1)
    assert found.headline["clean_answering_loss_per_cell"] == pytest.approx(1)


def test_the_table_of_tasks_says_which_are_clean_and_the_clean_loss_is_theirs() -> None:
    found = evaluated(seen=["b"])
    assert found.tasks.set_index("task").clean.to_dict() == {"b": 0, "a": 1}
    assert found.headline["clean_answering_loss_per_cell"] == pytest.approx(4 / 6)
    assert "clean_answering_loss_per_cell" not in evaluated(seen=["a", "b"]).headline


def test_the_headline_counts_tasks_tests_and_outcomes() -> None:
    found = evaluated(seen=["b", "of another scale"]).headline
    assert (found["val_tasks"], found["val_tests"], found["clean_tasks"]) == (2, 3, 1)
    assert (found["adapted_tasks"], found["adapt_failed"]) == (2, 0)
    assert found["metrics_version"] == metrics.VERSION
    # Two views have no answer.
    assert found["stop_rate"] == 1


def test_the_table_of_scores_agrees_with_the_headline_numbers() -> None:
    found = evaluated(seen=["b"])
    scores = found.scores.set_index("metric")
    assert scores.columns.tolist() == [*evaluation.SCORE_COLUMNS[1:]]
    for name in metrics.HEADLINE:
        names = {"mean": name, "low": f"{name}_low", "high": f"{name}_high"}
        for column, headline in (names | {"clean": f"clean_{name}"}).items():
            assert scores.loc[name, column] == found.headline[headline]


def test_a_group_has_the_mean_of_its_tasks_and_an_ungrouped_task_no_row() -> None:
    one = replace(ANSWERS, tasks=[replace(TASKS[0], group="x"), TASKS[1]])
    [row] = evaluated(one).groups.to_dict("records")
    assert [*row] == ["group", "tasks", *evaluation.GROUP_COLUMNS]
    assert (row["group"], row["tasks"], row["accuracy"]) == ("x", 1, 0)
    assert evaluated().groups.columns.tolist() == ["group", "tasks", *evaluation.GROUP_COLUMNS]
    assert evaluated().groups.empty


def history(folder: Path, losses: dict[int, float]) -> Path:
    measured = {step: (0.9 - step / 10, loss) for step, loss in losses.items()}
    write_history(folder / "history", measured)
    return folder / "history"


def test_the_training_loss_is_the_last_of_the_history(tmp_path: Path) -> None:
    path = history(tmp_path, {0: 1.5, 2: 0.5, 5: 0.5})
    assert evaluation.train_loss(path, PROMPTS) == pytest.approx(0.4)


def test_a_run_that_only_measures_has_no_training_loss(tmp_path: Path) -> None:
    first = {0: PROMPTS[0]}
    path = history(tmp_path, {0: 1.5})
    assert evaluation.train_loss(path, first) is None
    found = evaluation.evaluate(ANSWERS, first, PROMPTS[0], None, {}, [])
    assert "train_loss" not in found.headline
    assert (found.headline["steps"], found.headline["best_val_step"]) == (0, 0)


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ({0: 1.5, 2: 0.5, 5: 0.501}, "history: the validation losses by step are {0: 1.5, 2: 0.5"),
        ({0: 1.5, 2: 0.5}, "average to {0: 1.5, 2: 0.5, 5: 0.5}; one fine-tune writes both"),
    ],
)
def test_the_history_of_another_run_is_refused(
    tmp_path: Path, losses: dict[int, float], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        evaluation.train_loss(history(tmp_path, losses), PROMPTS)


def task_table(folder: Path, losses: dict[str, float | None]) -> Path:
    """Write a table of tasks with some losses."""
    shares = {"tests": 1, "clean": 1} | dict.fromkeys(evaluation.TASK_COLUMNS, 0.5)
    rows = [
        {"task": task} | shares | {"val_loss": one, "answering_loss_per_cell": one}
        for task, one in losses.items()
    ]
    files.write_csv(folder / "tasks.csv", pd.DataFrame(rows))
    return folder / "tasks.csv"


def test_task_losses_leave_out_tasks_without_a_loss(tmp_path: Path) -> None:
    path = task_table(tmp_path, {"b": None, "a": 0.7})
    assert evaluation.task_losses(path, TASKS) == {"a": 0.7}


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ({"b": 0.5}, "task 'a' is in the table or a validation task, but not both; repeat the"),
        ({"a": 0.5, "b": 0.5, "c": 0.5}, "task 'c' is in the table or"),
        ({"a": float("inf"), "b": 0.5}, "tasks.csv: row 0, val_loss: Input should be a finite"),
    ],
)
def test_a_table_of_other_tasks_or_wrong_values_is_refused(
    tmp_path: Path, losses: dict[str, float | None], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        evaluation.task_losses(task_table(tmp_path, losses), TASKS)
