"""Write the scripts of Vega to one file, so that `dvc plots show` draws without a network.

The page of DVC's plots, `.dvc/plots/page.html`, loads the file.
"""

import logging
from pathlib import Path

import vl_convert

from arcmix import files, program

log = logging.getLogger("arcmix.vega")

VEGA_LITE = "5.21"
"""Version of Vega-Lite; the templates of DVC, and those in `.dvc/plots`, are written for 5."""


def run(*, out: Path) -> None:
    """Write Vega, Vega-Lite and Vega-Embed to `out`, as a script that is no module."""
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", VEGA_LITE)
    # A function of its own keeps the bundle's short names out of the page.
    files.write_text(out, f"(() => {{\n{bundle}\n}})();\n")
    log.info("Vega for dvc plots show: %s", out)


if __name__ == "__main__":
    program.main(run)
