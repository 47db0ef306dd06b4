"""Stage `check`: refuse a `params.yaml` that does not hold together, before anything runs.

Reads all of `params.yaml`; writes a constant text. Every stage that starts a branch of
the pipeline depends on that text, so none runs before the check, and since the text never
changes, an edit that passes the check invalidates nothing by way of it.
"""

import logging
from pathlib import Path
from typing import Annotated

from arcmix import files, program
from arcmix.config import check, params
from arcmix.config.schema import At, Section

log = logging.getLogger("arcmix.check")


class Params(Section):
    """The names that choose the experiment, and what depends on them."""

    dataset: Annotated[str, At("dataset")]
    """The training dataset."""
    model: Annotated[str, At("model")]
    """The base model."""
    scale: Annotated[str, At("scale")]
    """The budgets."""
    selection: Annotated[params.Selection, At("selection")]
    """The rule that selects the answers, of which one needs a budget."""


def run(*, config: Params, file: Path, out: Path) -> None:
    """Check the whole of `file` and say so in `out`."""
    check.check_file(file)
    files.write_text(out, "params.yaml holds together\n")
    log.info("dataset %s, model %s, scale %s", config.dataset, config.model, config.scale)


if __name__ == "__main__":
    program.main(run)
