"""Pin the content of a source: write its counts and its digest to its entry in `params.yaml`.

Reads the files of the source, of kind `folder` or `hub`. The rest of `params.yaml`, comments
included, stays as it is, as after an override of DVC.
"""

import io
import logging
from pathlib import Path

from ruamel.yaml import YAML

from arcmix import files, program, tasks
from arcmix.config import check, origins
from arcmix.config.document import unknown
from arcmix.sources import folder, hub, pins

log = logging.getLogger("arcmix.pin")


def run(*, file: Path, source: str, root: Path, cache: Path) -> None:
    """Write the counts and the digest of the tasks of `source` to its entry in `file`.

    A relative path starts at `root`, and fetched files stay in `cache`.
    """
    entries = check.check_file(file).sources
    loose = [name for name, one in entries.items() if isinstance(one, origins.LooseTasks)]
    if source not in loose:
        if source in entries:
            raise ValueError(
                f"SOURCE: {source} is of kind {entries[source].kind}, whose pins are in sources."
                f"{source} of params.yaml; make pin writes those of the kinds folder and hub. Where"
                " the content differs from the pins, the error of stage download states what it"
                " found"
            )
        raise ValueError(f"SOURCE: {unknown(source, entries)}")
    found = _load(source, entries[source], root, cache).tasks
    content = {
        "tasks": len(found),
        "tests": sum(len(task.test) for task in found),
        "digest": tasks.digest(found),
    }
    yaml = YAML()  # as DVC writes an override
    yaml.default_flow_style = False
    values = yaml.load(file.read_text(encoding="utf-8"))
    values["sources"][source].update(content)
    text = io.StringIO()
    yaml.dump(values, text)
    files.write_text(file, text.getvalue())
    log.info("%s: pinned %s", source, ", ".join(f"{name} {one}" for name, one in content.items()))


def _load(name: str, source: origins.Source, root: Path, cache: Path) -> pins.Loaded:
    """Return the tasks of a source, whatever its pins are."""
    entry = source.model_copy(update={"tasks": None, "tests": None, "digest": None})
    match entry:
        case origins.HubSource():
            return hub.load(name, entry, cache)
        case origins.FolderSource():
            return folder.load(name, entry, root)
    raise ValueError(f"{name} is a source of kind {source.kind}, which this program does not pin")


if __name__ == "__main__":
    program.main(run)
