"""Say where the adapter of each row of the ledger is, and push them to DVC's remote.

`dvc push` pushes the files of the workspace alone, and `dvc gc -w` removes all others. But a second
stage of training may start from any row. An adapter that is in the remote is pulled when it is
needed. One that is nowhere comes back by repeating its run.
"""

import sys
from pathlib import Path

from arcmix import program
from arcmix.config import schema
from arcmix.ledger import records, repeat, store


def run(*, params: Path, repository: Path, rows: Path, action: str) -> None:
    """Print where the adapters are; `action` is `push` or `list`."""
    found = records.read(rows)
    addresses = [row.adapter for row in found]
    if action == "push":
        store.push(repository, addresses)
    present = schema.resolve(schema.read(params))
    places = store.places(repository, addresses)
    for row in found:
        place = places[row.adapter]
        text = f"{row.name}: {place}"
        if place == store.NOWHERE:
            text += f"; to have it again: {repeat.command(row, present)}"
        sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    program.main(run)
