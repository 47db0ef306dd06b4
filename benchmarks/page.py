"""One page in Markdown of all benchmarks in their short form, for the device of this machine.

On a card, the sizes fill it, and the page takes at most six minutes: a benchmark that takes more
than its share is stopped, and the page says so. On a CPU, the sizes are small. Other arguments are
passed on to all programs, for example `--base-model tiny`.

    make bench-gpu
    PYTHONPATH=src python3 -m benchmarks.page      # without the environment of make
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from arcmix.models import numerics
from benchmarks import harness


@dataclass(frozen=True)
class Section:
    """A section of the page."""

    title: str
    program: str
    card: Sequence[str]
    """Arguments on a card."""
    cpu: Sequence[str]
    """Arguments on a CPU."""
    share: int
    """Seconds that it may take on a card."""

    def print(self, others: Sequence[str]) -> bool:
        """Print the section, and return whether it is complete.

        Each program has a process of its own, so none takes memory from the next one.

        Args:
            others: Arguments of all programs.
        """
        arguments = [*(self.card if harness.on_card() else self.cpu), *others]
        words = ["-m", f"benchmarks.{self.program}", *arguments]
        print(f"\n## {self.title}\n\n    python {' '.join(words)}", flush=True)
        limit = self.share if harness.on_card() else None
        try:
            command = [sys.executable, *words]
            done = subprocess.run(command, timeout=limit, check=False)  # noqa: S603 - our programs
        except subprocess.TimeoutExpired:
            print(f"Stopped after {limit} s.", flush=True)
            return False
        if done.returncode:
            print(f"Ended with status {done.returncode}; the error is above.", flush=True)
        return not done.returncode


SECTIONS = (
    Section(
        "Training", "train", ["--steps", "2", "--batch", "32"], ["--lengths", "256"], share=100
    ),
    Section(
        "Answers",
        "predict",
        ["--tests", "8", "--views", "2", "--sizes", "all", "--side", "8"],
        ["--tests", "2", "--side", "6", "--max-tokens", "512"],
        share=130,
    ),
    Section(
        "Scores",
        "score",
        ["--tests", "32", "--sizes", "all"],
        ["--tests", "2", "--side", "6", "--max-tokens", "512"],
        share=50,
    ),
    Section(
        "Test-time fine-tuning",
        "adapt",
        ["--count", "32"],
        ["--count", "2", "--steps", "1"],
        share=70,
    ),
)


def main() -> None:
    """Print the page; the status is 1 if a section is not complete."""
    parser = argparse.ArgumentParser(description="All benchmarks in their short form.")
    _, others = parser.parse_known_args()
    if "cpu" in others:
        harness.hide_card()
    begun, found = time.monotonic(), numerics.machine()
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    print(f"# Benchmarks on {found.device}\n\n{found.instructions}; {versions}.")
    complete = [section.print(others) for section in SECTIONS]
    print(f"\n{sum(complete)} of {len(SECTIONS)} sections in {time.monotonic() - begun:.0f} s.")
    sys.exit(not all(complete))


if __name__ == "__main__":
    main()
