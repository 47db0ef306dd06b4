"""Programs of `benchmarks`, run in small on a random model."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(program, *flags, status=0):
    """Return what a program prints, and the cells of the rows of its tables."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{program}", *flags],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    tables = re.findall(r"^\| --- \|.*\n((?:\|.*\n)+)", done.stdout, re.MULTILINE)
    lines = "".join(tables).splitlines()
    return done.stdout + done.stderr * bool(status), [
        line.strip("| ").split(" | ") for line in lines
    ]
