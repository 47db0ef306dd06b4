import subprocess
import sys
from pathlib import Path

import pytest

from arcmix import tasks
from tests.arc import task

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def lengths(*flags):
    """Return the lines that the program prints."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.lengths", *flags],
        cwd=ROOT,
        env={"PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_each_split_of_a_table_has_a_row_for_each_style(tmp_path, base_model):
    one = task("a", test=1)
    tasks.write(tmp_path / "tables/mini.parquet", [one, task("b", split="evaluation")])
    lines = lengths("--model", base_model, "--tables", tmp_path / "tables")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert [row[0] for row in rows] == ["mini, evaluation"] * 4 + ["mini, training"] * 4
    assert [row[1] for row in rows[:4]] == [
        "bare, minimal",
        "v0, minimal code_block",
        "v1, minimal row_number shape",
        "dialog, minimal",
    ]
    output = one.test[0].output
    # The only test gives the median and the maximum. Each cell and each row end is one token.
    assert rows[4][2] == rows[4][4]
    assert rows[4][5] == str(output.size + output.shape[0])


def test_without_tables_the_program_prints_what_to_do(tmp_path):
    assert lengths("--tables", tmp_path / "none") == [
        "lengths: there are no task tables or no model; run: make repro"
    ]
