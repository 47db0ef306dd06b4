import pytest

from tests.benchmarks.running import run

pytestmark = pytest.mark.slow


def test_tasks_train_alike_one_by_one_and_together():
    flags = ("--tasks", "none.parquet", "--count", "3", "--steps", "2", "--dtype", "float32")
    _, rows = run("adapt", "--base-model", "tiny", "--device", "cpu", *flags)
    assert [row[0] for row in rows] == ["one by one", "arcmix"]
    # The program itself compares the losses of each task.
    assert rows[0][7] == rows[1][7]
