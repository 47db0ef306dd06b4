"""Stage `fetch_adapter`: take the adapter of an earlier run to start from.

Reads the ledger of the repository, or that of a revision, and the cache of DVC. Writes a
folder: `start.json` says where the run starts; `adapter` is what it starts from, absent if that
is a fresh adapter; `adapter/optimizer.safetensors` is absent if the optimizer starts afresh.
"""

import json
import logging
from pathlib import Path
from typing import Annotated, Any

from arcmix import files, program
from arcmix.config import origins, params, scales, schema
from arcmix.config.schema import At, Section
from arcmix.ledger import store

log = logging.getLogger("arcmix.fetch_adapter")


class Params(Section):
    """The values that the stage depends on."""

    init: Annotated[params.Init, At("init")]
    """What the fine-tune starts from."""
    partition: Annotated[params.Partition, At("partition")]
    """The split into training and validation."""
    measure: Annotated[params.Measure, At("measure")]
    """The part of the tasks that is measured."""
    audit: Annotated[params.Audit, At("audit")]
    """Whether leaks are dropped."""
    model: Annotated[origins.Model, At("models.${model}")]
    """The base model."""
    prompt: Annotated[scales.Prompt, At("scales.${scale}.prompt")]
    """The text of a task."""


def run(*, config: Params, repository: Path, rows: str, adapter: str, out: Path) -> None:
    """Write what the run starts from to `out`.

    `rows` and `adapter` are places inside `repository`, now and at any revision.
    """
    init = config.init
    if init.adapter == "none":
        files.write_json(out / "start.json", {"adapter": "none"})
        return
    name, row = _row(init.adapter, repository, rows, adapter)
    _check(config, name, row)
    try:
        store.fetch(repository, row["adapter"], init.checkpoint, out / "adapter")
    except FileNotFoundError as error:
        raise ValueError(f"the adapter of {name} is gone: {error}; {_again(row)}") from error
    state = out / "adapter" / "optimizer.safetensors"
    if init.optimizer == "fresh":
        state.unlink(missing_ok=True)
    elif not state.exists():
        raise ValueError(f"{name} kept no state of its optimizer; set init.optimizer to fresh")
    start = {
        "adapter": name,
        "address": row["adapter"],
        "checkpoint": init.checkpoint,
        "optimizer": init.optimizer,
        "uses_validation_demonstrations": _uses_validation(row),
    }
    files.write_json(out / "start.json", start)
    log.info("the %s adapter of %s, optimizer: %s", init.checkpoint, name, init.optimizer)


def _row(found: str, repository: Path, rows: str, adapter: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the content of a row by its name, or by a revision of its run."""
    known = {_name(path): path for path in (repository / rows).glob("*/*.json")}
    if found in known:
        row = files.read_json(known[found])
        if "adapter" not in row:
            raise ValueError(f"{found} does not tell its adapter, as rows now do; {_again(row)}")
        return found, row
    try:
        address = store.address_at(repository, found, adapter)
    except ValueError as error:
        raise ValueError(
            f"init.adapter: as a row of {rows}, {schema.unknown(found, ['none', *known])};"
            f" as a revision or an experiment (dvc exp list): {error}"
        ) from error
    texts = store.texts_at(repository, found, rows)
    made = {_name(Path(path)): json.loads(text) for path, text in texts.items()}
    named = [name for name, row in made.items() if row.get("adapter") == address]
    if not named:
        raise ValueError(
            f"init.adapter: {found!r} has no row of its adapter {address} in {rows}:"
            " its run did not end, or it is of an earlier version; run it again"
        )
    return named[0], made[named[0]]


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def _check(config: Params, name: str, row: dict[str, Any]) -> None:
    """Refuse an adapter that this run cannot use, or must not by its own rules."""
    now, then = config.model_dump(mode="json"), row["settings"]
    places = {
        "model": (then["model"], now["model"]),
        "prompt.format": (then["scale"]["prompt"]["format"], now["prompt"]["format"]),
        "prompt.encoder": (then["scale"]["prompt"]["encoder"], now["prompt"]["encoder"]),
        # Else it may have been trained on tasks that validate this run.
        "partition.seed": (then["partition"]["seed"], now["partition"]["seed"]),
        "partition.tasks": (then["partition"]["tasks"], now["partition"]["tasks"]),
        "audit.drop": (then["audit"]["drop"], now["audit"]["drop"]),
    }
    if now["audit"]["drop"] == "leaks":
        # What leaks into other tasks was not dropped there.
        had = then.get("measure", {})
        places |= {f"measure.{name}": (had.get(name), one) for name, one in now["measure"].items()}
    for place, (had, has) in places.items():
        if had != has:
            raise ValueError(
                f"init.adapter: {name} was trained with {place} {had}, this run has {has};"
                " choose a run that has the same"
            )


def _uses_validation(row: dict[str, Any]) -> bool:
    key = "uses_validation_demonstrations"
    return row["mix"][key] or row["start"].get(key, False)


def _again(row: dict[str, Any]) -> str:
    choices = {name: row[name] for name in ("dataset", "model", "scale", "seed")}
    choices |= {"init.adapter": row.get("start", {"adapter": "none"})["adapter"]}
    flags = " ".join(f"-S {name}={value}" for name, value in choices.items())
    return f"make it again, with the settings of its row: dvc exp run {flags}"


if __name__ == "__main__":
    program.main(run)
