"""Stage `ablation`: make the ablation table and its figures from the ledger.

Reads the rows of all runs. Writes the table as CSV and as Markdown, a chart of the losses and one
of the loss curves, and the page of the study. They depend on the rows, the fingerprint of the
present code and the baseline, and on the git history, which has the commits of earlier code.
"""

import logging
from pathlib import Path
from typing import Annotated

from arcmix import files, program
from arcmix.config import params
from arcmix.config.schema import At, Section
from arcmix.ledger import commits, records, summary, table
from arcmix.pages import charts, drawing, study
from arcmix.scoring import consistency

log = logging.getLogger("arcmix.ablation")


class Params(Section):
    """The values that the stage depends on."""

    ablation: Annotated[params.Ablation, At("ablation")]
    """What the rows of the table are compared with."""


def run(  # noqa: PLR0913 - one argument for each file
    *,
    config: Params,
    run_code: Path,
    repository: Path,
    rows: Path,
    csv: Path,
    markdown: Path,
    forest: Path,
    curves: Path,
    page: Path,
) -> None:
    """Write the table and the figures of the ledger `rows`.

    The git history of the folder `repository` names the commits of rows of earlier code.
    """
    present = run_code.read_text().strip()
    found = records.read(rows)
    if not found:
        raise ValueError(
            f"no rows in {rows}; the table needs at least 1, so run an experiment first: dvc repro"
        )
    for row in found:
        if wrong := consistency.problems(row.metrics, [*row.tasks.values()], row.history):
            raise ValueError(
                f"{records.place(rows, row)}: {'; '.join(wrong)}; the metrics of a row follow from"
                f" its tasks and its history, so one was edited: {records.REMEDY}"
            )
    earlier = commits.of_codes(repository, {row.code for row in found} - {present})
    blocks = table.blocks(found, present, config.ablation.baseline, earlier)
    files.write_csv(csv, table.as_frame(blocks))
    files.write_text(markdown, summary.as_markdown(blocks))
    drawing.write_png(forest, charts.forest(blocks))
    drawing.write_png(curves, charts.curves(blocks))
    files.write_text(page, study.page(blocks))
    others = sum(row.code != present for row in found)
    log.info("rows of the present code: %d, of other code: %d", len(found) - others, others)


if __name__ == "__main__":
    program.main(run)
