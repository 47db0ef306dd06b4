"""Write a script that runs the cells of a study on other machines: for Slurm or for SkyPilot.

Each cell runs in a clone of its own. Its run comes back as a branch of the Git remote, with its
row, and its adapter by DVC's remote. A script has the cells that the ledger lacks, and the present
commit.
"""

import logging
import re
import shlex
import subprocess
import textwrap
from pathlib import Path

from arcmix import files, fingerprints, program, redaction
from arcmix.config.document import unknown
from arcmix.config.studies import Cell
from arcmix.ledger import records, store, study

log = logging.getLogger("arcmix.cluster")

KINDS = {"slurm": "slurm.sh", "sky": "sky.yaml"}
"""Kinds of scripts -> the file of their form."""

WORD = re.compile("[A-Za-z0-9._,-]*")
"""Pattern of the name of a partition or of a kind of GPU."""

FORMS = Path(__file__).parent / "cluster"
"""Folder of the forms; a word between @ stands for a value."""


def run(  # noqa: PLR0913 - a program's arguments are its files, and what a machine has
    *,
    params: Path,
    repository: Path,
    library: Path,
    programs: Path,
    rows: Path,
    name: str,
    on: str,
    remote: str,
    gpus: str,
    gpu: str,
    cpus: str,
    memory: str,
    hours: str,
    partition: str,
    out: Path,
) -> None:
    """Write the script of kind `on` for the cells of the study `name` to the folder `out`."""
    if on not in KINDS:
        raise ValueError(f"ON: {unknown(on, KINDS)}")
    numbers = {"GPUS": gpus, "CPUS": cpus, "MEMORY": memory, "HOURS": hours}
    if wrong := [f"{key}={value}" for key, value in numbers.items() if not value.isdecimal()]:
        raise ValueError(f"{wrong[0]} is no number; write a whole one")
    names = {"GPU": gpu, "PARTITION": partition}
    if wrong := [f"{key}={value}" for key, value in names.items() if not WORD.fullmatch(value)]:
        raise ValueError(f"{wrong[0]} is no name; it has letters, digits and . _ , -")
    code = fingerprints.fingerprints(fingerprints.programs(programs), library)["all"]
    planned = study.planned(params, name, code, repository)
    there = {study.of_row(row) for row in records.read(rows)}
    missing = {key: cell for key, cell in planned.items() if key not in there}
    if not missing:
        log.info("%s: all %d cells are in the ledger", name, len(planned))
        return
    path = out / f"study-{name}.{KINDS[on]}"
    options = {
        "slurm": [f"#SBATCH --gpus={gpus}"] * (gpus != "0")
        + [f"#SBATCH --partition={partition}"] * bool(partition),
        "sky": [f"  accelerators: {gpu}:{gpus}"] * (gpus != "0"),
    }
    cell = _filled(
        (FORMS / "cell.sh").read_text(encoding="utf-8"),
        study=name,
        repository=shlex.quote(_url(repository, remote)),
        commit=_commit(repository, remote),
        count=str(len(missing)),
        cases="\n".join(_case(number, *one) for number, one in enumerate(missing.items())),
    )
    store.push(repository, [])  # an error if there is no remote
    text = _filled(
        (FORMS / KINDS[on]).read_text(encoding="utf-8"),
        study=name,
        file=path.name,
        repository=_url(repository, remote),
        last=str(len(missing) - 1),
        cpus=cpus,
        memory=memory,
        hours=hours,
        options="\n".join(options[on]),
        cell=textwrap.indent(cell, "  ") if on == "sky" else cell,
    )
    files.write_text(path, text)
    log.info("%s: %d of %d cells are missing; %s runs them", name, len(missing), len(planned), path)


def _case(number: int, key: str, cell: Cell) -> str:
    """Return a case of the shell: the name and the flags of the experiment of a cell."""
    return (
        f"{number}) name={study.experiment(key, cell)} values=({shlex.join(study.flags(cell))}) ;;"
    )


def _filled(form: str, **values: str) -> str:
    """Return a form with its values; the last one may be any text."""
    for name, value in values.items():
        form = form.replace(f"@{name}@", value)
    return form


def _url(repository: Path, remote: str) -> str:
    url = _git(repository, "remote", "get-url", remote)
    if redaction.redacted(url) != url:
        raise ValueError(
            f"the URL of the Git remote {remote} has credentials, which the script would show; use"
            " SSH, or a credential helper of Git on the machines"
        )
    return url


def _commit(repository: Path, remote: str) -> str:
    """Return the present commit.

    Raises:
        ValueError: If the workspace has other code or values, or the remote lacks the commit.
    """
    if edited := _git(repository, "status", "--short", "--", ".", ":!results", ":!dvc.lock"):
        raise ValueError(
            f"the machines run a commit, and the workspace differs from it: {edited}; commit and"
            " push, then run the same again"
        )
    if not _git(repository, "for-each-ref", "--contains", "HEAD", f"refs/remotes/{remote}"):
        raise ValueError(
            f"the machines clone {remote}, which has not the present commit; run: git push {remote}"
        )
    return _git(repository, "rev-parse", "HEAD")


def _git(repository: Path, *words: str) -> str:
    done = subprocess.run(  # noqa: S603 - the words are ours
        ["git", "-C", str(repository), *words],  # noqa: S607
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ValueError(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


if __name__ == "__main__":
    program.main(run)
