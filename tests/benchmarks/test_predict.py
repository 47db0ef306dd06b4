import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from arcmix import tasks
from arcmix.tasks import Task
from tests.arc import pair

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def validation(tmp_path):
    pairs = [pair(number, 2, 3) for number in range(3)]
    alike = [type(one)(one.input, one.input) for one in pairs]
    tasks.write(
        tmp_path / "validation.parquet",
        [
            Task("same", "arc", "training", 0, tuple(alike[:2]), tuple(alike[2:])),
            Task("other", "arc", "training", 0, tuple(pairs[:2]), tuple(pairs[2:])),
        ],
    )
    return tmp_path / "validation.parquet"


def table(program, validation, *flags):
    """Return the cells of the rows of the table without its header."""
    done = subprocess.run(
        [
            sys.executable,
            f"benchmarks/{program}.py",
            *("--base-model", "tiny", "--validation", validation),
            *("--repeats", "1", "--side", "4", *flags),
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=True,
    )
    rows = re.findall(r"^\| (.*) \|$", done.stdout, re.MULTILINE)
    return done.stdout, [row.split(" | ") for row in rows[2:]]


# The programs themselves compare the results of all ways and raise an error if two differ.


def test_the_ways_to_answer_give_the_same_tokens(validation):
    told, rows = table(
        "predict",
        validation,
        *("--sizes", "all", "--views", "2", "--threads", "2", "--batch-tokens", "200"),
    )
    assert told.startswith("4 prompts")
    assert [row[0] for row in rows] == [
        "generate, one",
        "generate, 8",
        "arcmix, no draft",
        "arcmix, copy",
        "arcmix, views",
        "arcmix, copy, processes",
    ]
    assert {row[8] for row in rows} == {"4/4"}


def test_the_ways_to_score_give_the_same_log_probabilities(validation):
    told, rows = table("score", validation)
    assert told.startswith("1 prompts")
    assert [row[0] for row in rows] == ["each anew", "arcmix, prompt once"]
