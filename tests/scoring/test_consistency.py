from typing import Any

import pytest

from arcmix.scoring import consistency
from tests.rows import row

PER_CELL = (0.5, 0.75, 1.0)


def numbers(**changes: Any) -> tuple[dict[str, Any], list[dict], list[dict]]:
    """Return the metrics of a row, with some of them changed, its tasks and its history."""
    found = row(loss=0.7, accuracy=0.25, per_cell=PER_CELL)
    return found.metrics | changes, [*found.tasks.values()], found.history


def test_numbers_of_one_run_do_not_contradict_each_other() -> None:
    assert consistency.problems(*numbers()) == []


def test_numbers_in_six_digits_are_equal() -> None:
    metrics, tasks, history = numbers(best_val_loss=0.70000001, accuracy=0.2500001)
    assert consistency.problems(metrics, tasks, history) == []


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("accuracy", 0.5, "accuracy is 0.5, but the tasks give 0.25"),
        ("pass_n", 0.25, "pass_n is 0.25, but the tasks give 0.5"),
        ("answering_loss_per_cell", 0.1234, "answering_loss_per_cell is 0.1234, but the tasks"),
        ("val_tasks", 24, "val_tasks is 24, but the tasks give 3"),
        ("best_val_loss", 0.1234, "best_val_loss is 0.1234, but the history gives 0.7"),
        ("best_val_step", 20, "best_val_step is 20, but the history gives 40"),
        ("val_loss_step_0", 0.7, "val_loss_step_0 is 0.7, but the history gives 0.99"),
        ("train_loss", 0.1, "train_loss is 0.1, but the history gives 0.6"),
        ("correct_pixels_low", 0.4, "correct_pixels_low is 0.4, but the tasks give 0.1"),
    ],
)
def test_an_edited_number_is_named_with_what_it_has_to_be(
    name: str, value: float, problem: str
) -> None:
    found = consistency.problems(*numbers(**{name: value}))
    assert found[0].startswith(problem)


def test_a_missing_number_is_named() -> None:
    metrics, tasks, history = numbers()
    del metrics["selected_2"]
    assert consistency.problems(metrics, tasks, history) == [
        "selected_2 is missing, but the tasks give 0.75"
    ]


def test_tasks_without_a_column_are_named() -> None:
    metrics, tasks, history = numbers()
    del tasks[1]["selected_2"]
    found = consistency.problems(metrics, tasks, history)
    assert found == ["the tasks have no selected_2"]


def test_the_last_loss_lies_between_the_losses_of_the_tasks() -> None:
    metrics, tasks, history = numbers(val_loss_per_task=0.5)
    for task, loss in zip(tasks, (0.25, 0.5, 0.75), strict=True):
        task["val_loss"] = loss
    assert consistency.problems(metrics, tasks, history) == []
    for task in tasks:
        task["val_loss"] = 0.5
    assert consistency.problems(metrics, tasks, history) == [
        "the last val_loss of the history is 0.7, but the losses of the tasks are 0.5 to 0.5"
    ]


def test_either_of_two_steps_with_equal_losses_is_the_best() -> None:
    metrics, tasks, history = numbers()
    history[1]["val_loss"] = history[2]["val_loss"]
    for step in (20, 40):
        assert consistency.problems(metrics | {"best_val_step": step}, tasks, history) == []
