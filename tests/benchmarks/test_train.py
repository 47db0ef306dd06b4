import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

# The program itself compares the losses of all ways and raises an error if two differ.


def rows(base_model, *flags):
    """Return the cells of the rows of all tables without their headers."""
    done = subprocess.run(
        [sys.executable, "benchmarks/train.py", "--model", base_model, *flags],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.findall(r"^\| ((?:TRL|arcmix).*) \|$", done.stdout, re.MULTILINE)
    return [row.split(" | ") for row in found]


def test_the_benchmark_finds_equal_losses_and_prints_the_cost_of_each_way(base_model):
    found = rows(base_model, "--dtype", "float32", "--threads", "1", "--repeats", "1")
    assert [row[0] for row in found] == [
        "TRL, texts",
        "arcmix",
        "TRL, our labels of all outputs",
        "arcmix, all outputs",
    ]
    padding = [int(row[6].removesuffix(" %")) for row in found]
    assert padding[0] == padding[2] < padding[1] == padding[3] == 100
    labelled = [float(row[5].replace(",", "")) / float(row[3]) for row in found]
    assert labelled[3] > 2 * labelled[1]
    assert found[0][9:] == ["1.00", "1.00"]


def test_the_full_benchmark_has_every_way(base_model):
    small = ["--dtype", "float32", "--threads", "1", "--repeats", "1", "--lengths"]
    assert [row[0] for row in rows(base_model, "--full", *small)] == [
        "TRL, texts",
        "arcmix",
        "arcmix, a sample a row",
        "arcmix, rows of 2048",
        "TRL, our labels of all outputs",
        "arcmix, all outputs",
    ]


def test_without_a_model_the_benchmark_prints_what_to_do(tmp_path):
    program = [sys.executable, ROOT / "benchmarks" / "train.py"]
    done = subprocess.run(
        program,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (
        "train: there is no model; run: dvc repro fetch_model, or set --model to a folder\n"
    )
