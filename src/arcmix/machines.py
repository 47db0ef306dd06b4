"""The machine that made numbers: other hardware or other libraries may change them.

`models.numerics` describes the present machine. A stage that computes with a model writes the
description beside its results, so they stay together in DVC's cache.
"""

import dataclasses
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, Strict

from arcmix import checked, files

Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ()@.,:/+_-]{0,99}$"), Strict()]
"""A text without characters that have a meaning in Markdown or HTML."""


@checked.STRICT
@dataclass(frozen=True)
class Machine:
    """The parts of a machine that may change a number."""

    device: Label
    """Name of the GPU, or of the CPU without one."""
    instructions: Label
    """The instruction set of torch on the CPU, and its extensions for low precision."""
    threads: checked.Positive
    """Number of threads of an operation."""
    ranks: checked.Positive
    """Number of processes that share a stage."""
    versions: dict[Label, Label]
    """Name of Python or of a library -> its version."""

    def __str__(self) -> str:
        """Return the machine in words."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        ranks = f", {self.ranks} ranks" if self.ranks > 1 else ""
        return f"{self.device}, {self.instructions}, {threads}{ranks}, {versions}"


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    # A batch system may assign a process fewer cores than the machine has.
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def label(text: str) -> str:
    """Return a text as a label: other characters become spaces, and repeated spaces one."""
    return " ".join(re.sub(r"[^A-Za-z0-9 ()@.,:/+_-]", " ", text).split())[:100] or "unknown"


def write(path: Path, machine: Machine) -> None:
    """Write a machine as JSON."""
    files.write_json(path, dataclasses.asdict(machine))


def read(path: Path) -> Machine:
    """Return the machine in a file.

    Raises:
        ValueError: If the file holds something else.
    """
    return Machine(**checked.read_json(path, Machine, "run the stage that writes it again"))


def differences(machines: Sequence[Machine]) -> list[str]:
    """Return the names of the fields in which machines differ."""
    names = [field.name for field in dataclasses.fields(Machine)]
    first = machines[0]
    return [
        name
        for name in names
        if any(getattr(one, name) != getattr(first, name) for one in machines)
    ]
