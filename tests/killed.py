"""Run a module as a program that is killed just before it changes a file for the n-th time.

Usage: killed.py N FILE MODULE ARGUMENTS. With N 0 it is not killed. At the end, FILE has the number
of changes.
"""

import os
import runpy
import signal
import sys
from pathlib import Path

CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir"}
"""Audit events of changes, beside `open`."""


def main() -> None:
    """Run the module."""
    wanted, counted, module = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    sys.argv[:] = sys.argv[3:]
    changes = 0

    def count(event: str, values: tuple) -> None:
        nonlocal changes
        writes = event == "open" and bool(values[2] & (os.O_WRONLY | os.O_RDWR))
        # Which bytecode and devices a program writes differs from run to run.
        if (writes or event in CHANGES) and not str(values[0]).endswith(
            (".pyc", "null", "cache__")
        ):
            changes += 1
            if changes == wanted:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    total = changes
    counted.write_text(str(total))


if __name__ == "__main__":
    main()
