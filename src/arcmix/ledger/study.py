"""The rows of a study: which of its cells the ledger has for the present code and values.

A row is found before its run: by all that makes its numbers and is known in advance, which is the
code, the values and the seed. The fingerprint of the row also has digests of the data, and these
follow from the code and the values.
"""

import re
import shlex
from pathlib import Path

from arcmix.config import check, origins, overrides, params, schema
from arcmix.config.document import unknown
from arcmix.config.studies import Cell, cells
from arcmix.ledger import differences, form, records
from arcmix.ledger.records import Row
from arcmix.sources import inputs

STARTS = ("adapter", "checkpoint", "optimizer")
"""Values of `init`, and fields of `start.json`, that name what a run starts from."""


def planned(path: Path, name: str, code: str, root: Path) -> dict[str, Cell]:
    """Return the cells of a study by what is known of their runs (`of_run`).

    Args:
        path: `params.yaml`.
        name: Name of the study.
        code: Fingerprint of the present code.
        root: The repository, where relative paths start.

    Raises:
        OSError: If a model is a folder that does not exist or cannot be read.
        ValueError: If there is no such study, or a cell cannot be told from other runs.
    """
    studies = check.check_file(path).studies
    if name not in studies:
        raise ValueError(f"{path}: studies: {unknown(name, studies)}")
    raw = schema.read(path)
    found = {}
    for cell in cells(studies[name]):
        try:
            found[of_run(check.check_cell(path, raw, cell), code, root)] = cell
        except ValueError as error:
            raise ValueError(f"{path}: studies.{name}: the cell {cell}: {error}") from None
    return found


def experiment(key: str, cell: Cell) -> str:
    """Return the name of the experiment that runs a cell; other code or values have another."""
    return f"{cell.dataset}-{cell.seed}-{key}"


def flags(cell: Cell) -> list[str]:
    """Return the flags with which `dvc exp run` sets the values of a cell."""
    found = []
    for place, value in cell.values.items():
        # An entry may leave a value of the grid to the defaults.
        added = "++" if place in cell.grid else ""
        found += ["-S", added + "".join(shlex.split(overrides.override(place, value)))]
    return found


def of_run(file: params.File, code: str, root: Path) -> str:
    """Return the fingerprint of what is known of a run before it runs.

    Args:
        file: The values of the run.
        code: Fingerprint of its code.
        root: The repository, where relative paths start.

    Raises:
        OSError: If the model is a folder that does not exist or cannot be read.
        ValueError: If a source is not pinned, or the run starts from something else than a new
            adapter or that of a row, so that the values do not say all.
    """
    values = check.made_of(file)
    if isinstance(model := file.models[file.model], origins.FolderModel):
        values["base"] |= inputs.model_digest(model.path, root)
    contents = inputs.contents(values["sources"], file.sources)
    if loose := sorted(values["sources"].keys() - contents.keys()):
        raise ValueError(
            f"the source {loose[0]} is not pinned, so its tasks may change while the values do not;"
            f" a study needs pinned sources, so run: make pin SOURCE={loose[0]}"
        )
    start = {name: values["init"][name] for name in STARTS}
    if start["adapter"] == "none":
        start = {"adapter": "none"}
    elif not re.match(form.REFERENCE, start["adapter"]):
        raise ValueError(
            f"init.adapter is {start['adapter']}, whose adapter may change while the name does not;"
            " a study starts from none or from a row of the ledger, DATASET/SEED-FINGERPRINT"
        )
    named = [values[name] for name in ("dataset", "model", "scale", "seed")]
    settings = records.chosen(values)
    return records.fingerprint(
        code, named, settings, [*values["components"].values()], contents, start
    )


def of_row(row: Row) -> str:
    """Return the same of the run of a row."""
    named = [row.dataset, row.model, row.scale, row.seed]
    settings = {
        name: value for name, value in row.settings.items() if name not in differences.DERIVED
    }
    start = {name: row.start[name] for name in STARTS if name in row.start}
    contents = row.mix.get("sources", {})
    return records.fingerprint(row.code, named, settings, row.components, contents, start)
