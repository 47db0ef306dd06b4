"""Stage `check`: reject an inconsistent `params.yaml` before any other stage runs.

Reads the whole of `params.yaml` and writes a constant text. The first stage of each branch of the
pipeline depends on this text, so it runs after the check. The text never changes, so an edit of
`params.yaml` that passes the check does not rerun these stages.
"""

import logging
from pathlib import Path
from typing import Annotated

from arcmix import files, program
from arcmix.config import check, params
from arcmix.config.schema import At, Section

log = logging.getLogger("arcmix.check")


class Params(Section):
    """The choices of an experiment."""

    dataset: Annotated[str, At("dataset")]
    """The training dataset."""
    model: Annotated[str, At("model")]
    """The base model."""
    scale: Annotated[str, At("scale")]
    """The budgets."""
    selection: Annotated[params.Selection, At("selection")]
    """The rule that selects the answers; one rule needs `predict.rescore` above 0."""


def run(*, config: Params, file: Path, out: Path) -> None:
    """Check the whole of `file` and write a constant text to `out`."""
    check.check_file(file)
    files.write_text(out, "params.yaml holds together\n")
    log.info("dataset %s, model %s, scale %s", config.dataset, config.model, config.scale)
    # An override of a default has no effect on a value that the scale states.
    own = check.stated(file, config.scale)
    values = ", ".join(f"{place}={value}" for place, value in own.items())
    log.info("set these by scales.%s, which states them: %s", config.scale, values or "none")


if __name__ == "__main__":
    program.main(run)
