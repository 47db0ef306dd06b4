import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_the_benchmark_prints_a_row_for_each_style_and_way():
    program = ["-m", "benchmarks.data_path", "--repeats", "1", "--slow", "8", "--fast", "64"]
    done = subprocess.run(
        [sys.executable, *program],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(re.findall(r"^  sample by sample +[\d,]+ ", done.stdout, re.MULTILINE)) == 3
    assert len(re.findall(r"^  texts +[\d,]+ ", done.stdout, re.MULTILINE)) == 3
    assert len(re.findall(r"^  fast path +[\d,]+ ", done.stdout, re.MULTILINE)) == 3
