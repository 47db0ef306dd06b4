"""Stage `code`: write the fingerprint of each stage's code.

Reads the library and the programs of all stages. Writes a folder with one small file a stage, which
the stage depends on, and one file for all stages that make a run's numbers. A fingerprint ignores
comments, layout and docstrings, so an edit of these reruns this stage alone.
"""

import logging
from pathlib import Path

from arcmix import files, program
from arcmix.ledger import code

log = logging.getLogger("arcmix.code")


def run(*, library: Path, programs: Path, out: Path) -> None:
    """Write the fingerprint of each program of `programs` into the folder `out`."""
    found = code.fingerprints(code.programs(programs), library)
    for name, fingerprint in found.items():
        files.write_text(out / name, f"{fingerprint}\n")
    log.info("the run's code is %s", found["all"])


if __name__ == "__main__":
    program.main(run)
