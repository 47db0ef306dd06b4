"""The command that repeats the run of a row, whose adapter is lost."""

from collections.abc import Mapping
from typing import Any

from arcmix.config import overrides
from arcmix.ledger import form
from arcmix.ledger.records import Row

NAMES = ("dataset", "model", "scale", "seed")
"""Fields of a row that choose the experiment, whatever the present values are."""

SETTINGS = ("partition", "measure", "audit", "augment", "init_seed", "selection", "checkpoint")
"""Settings of a row that have the place of their name in `params.yaml`."""


def command(row: Row, present: Mapping[str, Any] | None = None) -> str:
    """Return the command that repeats a run.

    Args:
        row: The row.
        present: The values of `params.yaml` with their defaults merged (`schema.resolve`). With
            them, the command has the settings that now differ from those of the row, without them
            all settings.
    """
    start = row.start["adapter"]
    earlier = {name: getattr(row, name) for name in NAMES}
    earlier["init.adapter"] = start.replace(form.FOLDER, "./PATH/OF/")
    earlier |= {
        f"init.{name}": row.start[name] for name in ("checkpoint", "optimizer") if name in row.start
    }
    flags = [overrides.override(place, value) for place, value in earlier.items()]
    settings = {name: row.settings[name] for name in SETTINGS if name in row.settings}
    if present is None:
        components = {one["tasks"]: one for one in row.components if "tasks" in one}
        settings |= {f"scales.{row.scale}": row.settings.get("scale", {})}
        settings |= {f"datasets.{row.dataset}": components}
        flags += [f"++{overrides.override(place, value)}" for place, value in settings.items()]
    else:
        flags += overrides.differing(present, settings)
        flags += overrides.differing(present, _entries(row, present), entry=True)
    return " ".join(["dvc exp run", *(f"-S {flag}" for flag in flags)])


def _entries(row: Row, present: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scale and the dataset of a row at their places in `params.yaml`."""
    components = {one.get("tasks"): one for one in row.components}
    dataset = {
        name: components[part["tasks"]]
        for name, part in present["datasets"].get(row.dataset, {}).items()
        if part["tasks"] in components
    }
    return {
        "scales": {row.scale: row.settings["scale"]},
        "datasets": {row.dataset: dataset},
    }
