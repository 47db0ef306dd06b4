import pandas as pd

from arcmix.training import outcomes
from arcmix.training.outcomes import Outcome

ROWS = [
    outcomes.as_row("00576224", Outcome("adapted", "all steps done", 8, 6, 0.5, 0.25), 1.5),
    outcomes.as_row("b", Outcome("skipped", "too long", 0, None, None, None), 0.0),
    outcomes.as_row("c", Outcome("failed", "out of memory", 2, None, 0.5, None), 0.5),
    outcomes.as_row("d", Outcome("adapted", "stopped early", 4, 2, 0.5, 0.25), 1.0),
]


def test_the_table_has_a_row_for_each_task(tmp_path):
    outcomes.write(tmp_path / "adapt.csv", ROWS)
    found = pd.read_csv(tmp_path / "adapt.csv", dtype=str, keep_default_na=False)
    assert found.columns.tolist() == [
        "task", "status", "reason", "steps", "best_step", "loss_before", "loss_after", "seconds"
    ]  # fmt: skip
    assert found.iloc[0].tolist() == [
        "00576224", "adapted", "all steps done", "8", "6", "0.5", "0.25", "1.5"
    ]  # fmt: skip
    assert found.task.tolist() == ["00576224", "b", "c", "d"]
    assert found.loss_after.tolist() == ["0.25", "", "", "0.25"]


def test_the_tasks_are_counted_by_status(tmp_path):
    outcomes.write(tmp_path / "adapt.csv", ROWS)
    found = outcomes.read_statuses(tmp_path / "adapt.csv")
    assert found == {"adapted": 2, "skipped": 1, "failed": 1}


def test_a_table_without_tasks_has_its_columns_and_no_counts(tmp_path):
    outcomes.write(tmp_path / "adapt.csv", [])
    assert (tmp_path / "adapt.csv").read_text() == f"{','.join(outcomes.COLUMNS)}\n"
    assert outcomes.read_statuses(tmp_path / "adapt.csv") == {}


def test_the_adapted_tasks_are_those_with_status_adapted():
    assert outcomes.adapted(ROWS) == ["00576224", "d"]
