"""Stage `ablation`: make the table and its figures from the ledger.

Reads the rows of all runs; writes the table for machines and for people, its bars and
the loss curves. A pure function of the rows and of the present code.
"""

import logging
from pathlib import Path

from arcmix import files, program
from arcmix.ledger import records, table
from arcmix.pages import figures

log = logging.getLogger("arcmix.ablation")


def run(
    *,
    code: Path,
    rows: Path,
    csv: Path,
    markdown: Path,
    bars: Path,
    curves: Path,
) -> None:
    """Sum up the ledger `rows`; rows that other code made are shown apart."""
    present = code.read_text().strip()
    found = records.read(rows)
    if not found:
        raise ValueError(f"no rows in {rows}; run an experiment first: dvc repro")
    blocks = table.blocks(found, present)
    files.write_csv(csv, table.as_frame(blocks))
    files.write_text(markdown, table.as_markdown(blocks))
    figures.bars(bars, blocks)
    figures.curves(curves, blocks)
    stale = sum(row.code != present for row in found)
    log.info("rows of the present code: %d, of other code: %d", len(found) - stale, stale)


if __name__ == "__main__":
    program.main(run)
