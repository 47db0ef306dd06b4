"""Stage `fetch_adapter`: fetch the adapter of an earlier run, for a fine-tune to start from.

Reads the ledger of the repository, or of a revision, and DVC's cache, or else a folder that peft
wrote. Writes a folder.
`start.json` describes the start of the run. `adapter` holds the earlier adapter; it is absent if
the run starts with a new adapter. `adapter/optimizer.safetensors` is absent if the run starts with
a new optimizer.
"""

import logging
from pathlib import Path
from typing import Annotated, Any

from arcmix import checked, files, local, program
from arcmix.config import origins, params, scales, schema
from arcmix.config.schema import At, Section
from arcmix.ledger import given, records, store
from arcmix.ledger.records import Row

log = logging.getLogger("arcmix.fetch_adapter")


class Params(Section):
    """The values that the stage depends on."""

    init: Annotated[params.Init, At("init")]
    """The adapter and the optimizer state that the fine-tune starts from."""
    partition: Annotated[params.Partition, At("partition")]
    """The split into training and validation."""
    measure: Annotated[params.Measure, At("measure")]
    """The part of the tasks that validation measures."""
    audit: Annotated[params.Audit, At("audit")]
    """Whether leaked tasks are dropped."""
    model: Annotated[origins.Model, At("models.${model}")]
    """The base model."""
    prompt: Annotated[scales.Prompt, At("scales.${scale}.prompt")]
    """The prompt format and the encoder."""


def run(
    *, config: Params, repository: Path, rows: str, adapter: str, base: Path, out: Path
) -> None:
    """Write the start of the run to the folder `out`.

    `rows`, the folder of the ledger, and `adapter` are paths relative to `repository`, in the
    workspace and in every revision. `base` has the digest of a base model that is a local folder
    (stage `local`).
    """
    init = config.init
    if init.adapter == "none":
        files.write_json(out / "start.json", {"adapter": "none"})
        return
    if init.adapter.startswith(params.PATH_STARTS):
        start = _given(local.place(init.adapter, repository), init.optimizer, out / "adapter")
    else:
        row = _row(init.adapter, repository, rows, adapter)
        _check(config, files.read_json(base), row)
        start = _earlier(init, repository, repository / rows, row, out / "adapter")
    files.write_json(out / "start.json", start)


def _given(folder: Path, optimizer: str, out: Path) -> dict[str, Any]:
    """Copy an adapter that was not made here, and return the start of the run."""
    given.copy(folder, out)
    _take_state(out / given.STATE, optimizer, str(folder))
    log.info("the adapter in %s, optimizer: %s", folder, optimizer)
    return {
        "adapter": given.name(folder),
        "address": store.address(out),
        "optimizer": optimizer,
        "uses_validation_demonstrations": None,
    }


def _earlier(
    init: params.Init, repository: Path, ledger: Path, row: Row, out: Path
) -> dict[str, Any]:
    """Fetch the adapter of an earlier run, and return the start of the run."""
    try:
        store.fetch(repository, row.adapter, init.checkpoint, out)
    except FileNotFoundError as error:
        raise ValueError(
            f"the adapter of {row.name} is missing: {error}; if the run was made elsewhere, remove"
            f" {records.place(ledger, row)}. Then repeat its run with the command that make"
            " adapters prints, or start with a new adapter: -S init.adapter=none"
        ) from error
    _take_state(out / given.STATE, init.optimizer, row.name)
    log.info("the %s adapter of %s, optimizer: %s", init.checkpoint, row.name, init.optimizer)
    return {
        "adapter": row.name,
        "address": row.adapter,
        "checkpoint": init.checkpoint,
        "optimizer": init.optimizer,
        "uses_validation_demonstrations": row.saw_validation,
    }


def _take_state(state: Path, optimizer: str, adapter: str) -> None:
    """Remove the state of the optimizer if it is not taken over; refuse an adapter without one."""
    if optimizer == "fresh":
        state.unlink(missing_ok=True)
    elif not state.exists():
        raise ValueError(
            f"init.optimizer is state, but {adapter} has no state of its optimizer;"
            " set init.optimizer to fresh"
        )


def _row(reference: str, repository: Path, rows: str, adapter: str) -> Row:
    """Return a row, given its name or a revision of its run."""
    known = {_name(path): path for path in (repository / rows).glob("*/*.json")}
    if reference in known:
        path = known[reference]
        row = records.parse(path, checked.read_text(path, records.REMEDY))
        if row is None or row.name != reference:
            raise ValueError(
                f"{path}: {'has another format' if row is None else f'holds the row {row.name}'};"
                f" {records.REMEDY}"
            )
        return row
    try:
        address = store.address_at(repository, reference, adapter)
    except ValueError as error:
        raise ValueError(
            f"init.adapter is not a row of {rows}: {schema.unknown(reference, ['none', *known])};"
            f" nor a revision or an experiment (dvc exp list): {error}; nor a folder, whose path"
            f" starts with {' or '.join(params.PATH_STARTS)}"
        ) from error
    texts = store.texts_at(repository, reference, rows)
    made = [records.parse(f"{reference}: {path}", text) for path, text in sorted(texts.items())]
    matching = [row for row in made if row is not None and row.adapter == address]
    if not matching:
        raise ValueError(
            f"init.adapter: the revision {reference!r} has no row of its adapter {address} in"
            f" {rows}: its run did not finish, another machine made the row, or an earlier version"
            " of arcmix made it; run it again"
        )
    return matching[0]


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def _check(config: Params, digest: dict[str, str], row: Row) -> None:
    """Refuse an adapter that does not fit this run, or that may leak its validation tasks.

    `digest` is that of a base model that is a local folder.
    """
    now, then = config.model_dump(mode="json"), row.settings
    places = {
        "model": (then["model"], now["model"] | digest),
        "prompt.format": (then["scale"]["prompt"]["format"], now["prompt"]["format"]),
        "prompt.encoder": (then["scale"]["prompt"]["encoder"], now["prompt"]["encoder"]),
        # With other values, the adapter may have been trained on validation tasks of this run.
        "partition.seed": (then["partition"]["seed"], now["partition"]["seed"]),
        "partition.tasks": (then["partition"]["tasks"], now["partition"]["tasks"]),
        "audit.drop": (then["audit"]["drop"], now["audit"]["drop"]),
    }
    if now["audit"]["drop"] == "leaks":
        # The earlier run dropped only the leaks into its own measured tasks.
        places |= {
            f"measure.{name}": (then["measure"].get(name), value)
            for name, value in now["measure"].items()
        }
    for place, (earlier, current) in places.items():
        if earlier != current:
            raise ValueError(
                f"init.adapter: {row.name} was trained with {place} {earlier}, but this run has"
                f" {current}; choose a run with the same value"
            )


if __name__ == "__main__":
    program.main(run)
