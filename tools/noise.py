"""Print the noise of results: the standard deviation over runs that differ in one seed alone.

Reads the rows of the ledger that the present code made.
"""

import logging
import sys
from pathlib import Path

from arcmix import program
from arcmix.ledger import noise, records

log = logging.getLogger("arcmix.noise")

METRICS = ("best_val_loss", "answering_loss_per_cell", "accuracy", "correct_pixels")
"""Metrics in the table."""


def run(*, run_code: Path, rows: Path) -> None:
    """Print the noise of the rows in the ledger `rows` that the present code made."""
    present = run_code.read_text().strip()
    found = records.read(rows)
    current = [row for row in found if row.code == present]
    log.info("%d of %d rows are of the present code", len(current), len(found))
    sys.stdout.write(noise.as_markdown(current, METRICS))


if __name__ == "__main__":
    program.main(run)
