"""Print how the runs that were made here differ from the rows of the ledger.

Reads the ledger, and the rows of the runs of this repository. Other hardware and other versions of
libraries change numbers a little.
"""

import sys
from pathlib import Path

from arcmix import program
from arcmix.ledger import comparison, records


def run(*, run_code: Path, rows: Path, own: Path) -> None:
    """Print the differences of the runs in `own` from those in `rows`, of the present code."""
    present = run_code.read_text().strip()
    ledger, made = (
        [row for row in records.read(folder) if row.code == present] for folder in (rows, own)
    )
    sys.stdout.write(comparison.as_markdown(ledger, made))


if __name__ == "__main__":
    program.main(run)
