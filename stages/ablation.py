"""Stage `ablation`: make the ablation table and its figures from the ledger.

Reads the rows of all runs. Writes the table as CSV and as Markdown, a bar chart and the loss
curves. They depend on nothing
but the rows, the fingerprint of the present code and the baseline.
"""

import logging
from pathlib import Path
from typing import Annotated

from arcmix import files, program
from arcmix.config import params
from arcmix.config.schema import At, Section
from arcmix.ledger import records, summary, table
from arcmix.pages import figures

log = logging.getLogger("arcmix.ablation")


class Params(Section):
    """The values that the stage depends on."""

    ablation: Annotated[params.Ablation, At("ablation")]
    """What the rows of the table are compared with."""


def run(
    *,
    config: Params,
    run_code: Path,
    rows: Path,
    csv: Path,
    markdown: Path,
    bars: Path,
    curves: Path,
) -> None:
    """Write the table and the figures of the ledger `rows`; rows of other code are stale."""
    present = run_code.read_text().strip()
    found = records.read(rows)
    if not found:
        raise ValueError(
            f"no rows in {rows}; the table needs at least 1, so run an experiment first: dvc repro"
        )
    blocks = table.blocks(found, present, config.ablation.baseline)
    files.write_csv(csv, table.as_frame(blocks))
    files.write_text(markdown, summary.as_markdown(blocks))
    figures.bars(bars, blocks)
    figures.curves(curves, blocks)
    stale = sum(row.code != present for row in found)
    log.info("rows of the present code: %d, of other code: %d", len(found) - stale, stale)


if __name__ == "__main__":
    program.main(run)
