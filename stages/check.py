"""Stage `check`: reject an inconsistent `params.yaml` before any other stage runs.

Depends on the whole of `params.yaml`, so it runs after each edit, and writes a constant text. The
first stage of each branch of the pipeline depends on this text, so it runs after the check. The
text never changes, so an edit of `params.yaml` that passes the check does not rerun these stages.
"""

import logging
from pathlib import Path

from arcmix import files, program
from arcmix.config import check

log = logging.getLogger("arcmix.check")


def run(*, file: Path, out: Path) -> None:
    """Check the whole of `file` and write a constant text to `out`."""
    found = check.check_file(file)
    files.write_text(out, "params.yaml holds together\n")
    log.info("dataset %s, model %s, scale %s", found.dataset, found.model, found.scale)
    # An override of a default has no effect on a value that the scale states.
    values = ", ".join(
        f"{place}={own}" + ("" if default in (None, own) else f" (not {default})")
        for place, (own, default) in check.stated(file, found.scale).items()
    )
    log.info("set these by scales.%s, which states them: %s", found.scale, values or "none")


if __name__ == "__main__":
    program.main(run)
