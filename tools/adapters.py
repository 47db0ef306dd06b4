"""Say where the adapter of each row of the ledger is, and push them to DVC's remote.

`dvc push` pushes the files of the workspace alone, and `dvc gc -w` removes all others. But a second
stage of training may start from any row. An adapter that is in the remote is pulled when it is
needed. One that is nowhere comes back by repeating its run with the code that made it.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from arcmix import fingerprints, program
from arcmix.config import schema
from arcmix.ledger import commits, records, repeat, store
from arcmix.ledger.records import Row
from arcmix.sources import inputs


def run(
    *, params: Path, repository: Path, library: Path, programs: Path, rows: Path, action: str
) -> None:
    """Print where the adapters are; `action` is `push` or `list`."""
    code = fingerprints.fingerprints(fingerprints.programs(programs), library)["all"]
    found = records.read(rows)
    addresses = [row.adapter for row in found]
    if action == "push":
        store.push(repository, addresses)
    places = store.places(repository, addresses)
    for row in found:
        place = places[row.adapter]
        text = f"{row.name}: {place}"
        if place == store.NOWHERE:
            needs = "".join(f", with {one}" for one in _contents(row, repository))
            text += f"; to have it again{needs}{_repetition(row, code, params, repository)}"
        sys.stdout.write(f"{text}\n")


def _contents(row: Row, repository: Path) -> Iterator[str]:
    """Yield what a run needs as it was then, because no value of `params.yaml` decides it."""
    model = row.settings["model"]
    if model["kind"] == "folder":
        try:
            now = inputs.model_digest(model["path"], repository)["sha256"]
        except OSError:
            now = "none"
        then = model.get("sha256", "unknown")  # earlier code did not record it
        if now != then:
            yield f"the folder {model['path']} as it was (sha256 {then}, now {now})"
    for part in row.mix["components"]:
        if not part.get("pinned", True):
            yield f"the tasks of {part['table']} as they were (digest {part['digest']})"


def _repetition(row: Row, code: str, params: Path, repository: Path) -> str:
    """Return the command that repeats a run, with a commit if other code than `code` made it."""
    commit = commits.of_codes(repository, [row.code])[row.code]
    if row.code == code or commit is None:
        return f": {repeat.command(row, schema.resolve(schema.read(params)))}"
    with tempfile.TemporaryDirectory() as folder:
        # The values that the command has to override are those of that commit.
        then = Path(folder, params.name)
        then.write_text(commits.text_at(repository, commit, params.name), encoding="utf-8")
        return f", at commit {commit}: {repeat.command(row, schema.resolve(schema.read(then)))}"


if __name__ == "__main__":
    program.main(run)
