"""Stage `code`: write the fingerprint of each stage's code.

Reads the library and the programs of all stages. Writes a file for each stage, which the stage
depends on, and a file `all` for the stages that make a run's numbers. Fingerprints ignore comments,
layout and docstrings, so an edit of these reruns this stage alone.
"""

import logging
from pathlib import Path

from arcmix import files, fingerprints, program

log = logging.getLogger("arcmix.code")


def run(*, library: Path, programs: Path, out: Path) -> None:
    """Write the fingerprint of each program in the folder `programs` to the folder `out`."""
    found = fingerprints.fingerprints(fingerprints.programs(programs), library)
    for name, fingerprint in found.items():
        files.write_text(out / name, f"{fingerprint}\n")
    log.info("fingerprint of the run's code: %s", found["all"])


if __name__ == "__main__":
    program.main(run)
