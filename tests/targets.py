"""What the targets of the Makefile run, without running it."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def dry(target: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Return the process of `make -n`, which prints the commands of a target."""
    return subprocess.run(
        ["make", "--no-print-directory", "-C", ROOT, "-n", target, *words],
        capture_output=True,
        text=True,
        check=False,
    )


def commands(target: str, *words: str) -> list[str]:
    """Return the commands that a target runs."""
    done = dry(target, *words)
    assert not done.returncode, done.stderr
    return done.stdout.replace("\\\n", " ").splitlines()


def tool(target: str, *words: str) -> tuple[str, dict[str, str]]:
    """Return the last tool that a target runs, and the first word of each of its options."""
    *_, command = [line for line in commands(target, *words) if " -m tools." in line]
    name, _, rest = command.partition(" -m tools.")[2].partition(";")[0].partition(" ")
    options = re.findall(r"--([a-z0-9-]+) +(\S+)", rest)
    return name, {option.replace("-", "_"): value for option, value in options}
