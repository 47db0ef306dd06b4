"""Run the cells of a study that the ledger lacks, by DVC's queue, and wait for them.

Reads the study from `params.yaml`, and which of its cells the ledger has for the present code and
values. The other cells become experiments of DVC's queue. Their names say what they run, so a
second start finds those of the first, and queues none twice. The workers of the queue go on when
this program ends.
"""

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from arcmix import files, fingerprints, machines, program
from arcmix.config import check
from arcmix.config.studies import Cell
from arcmix.ledger import queued, records, study, summary, table
from arcmix.ledger.queued import DONE, FAILED, LOST, QUEUED, RUNNING, Entry

if TYPE_CHECKING:
    from arcmix.ledger.records import Row

log = logging.getLogger("arcmix.study")

POLL = 5.0
"""Seconds between two looks at the queue."""

PATIENCE = 3
"""Number of looks that find an experiment lost, or too few running, before something is done."""


def run(
    *,
    params: Path,
    repository: Path,
    library: Path,
    programs: Path,
    rows: Path,
    lock: Path,
    name: str,
    jobs: str,
) -> None:
    """Run the cells of the study `name`, `jobs` at a time; with 0, only say which are missing.

    One program at a time holds the lock of the path `lock`.
    """
    if not jobs.isdecimal():
        raise ValueError(f"JOBS is a number, got {jobs!r}; write JOBS=2, or JOBS=0 to run nothing")
    code = fingerprints.fingerprints(fingerprints.programs(programs), library)["all"]
    work = Work(repository, rows, study.planned(params, name, code, repository))
    work.look()
    log.info("%s: %s", name, work.counts())
    if int(jobs) and work.missing():
        log.info(
            "Ctrl-C ends this program and not the runs, which the same command finds again; to end"
            " them: dvc queue stop --kill"
        )
        with files.locked(lock):  # two programs would queue a cell twice
            work.look()
            work.put(int(jobs))
            work.wait(int(jobs))
    made = [*work.rows.values()]
    if made:
        file = check.check_file(params)
        baselines = [file.studies[name].baseline, *file.ablation.baseline]
        sys.stdout.write(summary.as_markdown(table.blocks(made, code, baselines, {})))
    if missing := work.missing():
        sys.stdout.write("".join(f"{work.described(key)}\n" for key in missing))
        text = f"{name}: {len(missing)} of {len(work.cells)} cells are missing"
        if int(jobs):
            sys.exit(text)
        sys.stdout.write(f"{text}\n")


class Work:
    """The cells of a study, their rows, and their experiments in DVC's queue."""

    def __init__(self, repository: Path, ledger: Path, cells: dict[str, Cell]) -> None:
        """Take the cells by their fingerprints (`study.planned`)."""
        self.repository = repository
        self.ledger = ledger
        self.cells = cells
        self.rows: dict[str, Row] = {}
        self.entries: dict[str, Entry] = {}
        self.lost: Counter[str] = Counter()

    def look(self) -> None:
        """Read the ledger and the queue."""
        # The queue first: an experiment that is done by then has its row.
        found = queued.entries(self.repository)
        self.rows = {
            key: row
            for row in records.read(self.ledger)
            if (key := study.of_row(row)) in self.cells
        }
        names = {study.experiment(key, cell): key for key, cell in self.cells.items()}
        self.entries = {names[name]: entry for name, entry in found.items() if name in names}
        lost = {key for key, entry in self.entries.items() if entry.state == LOST}
        self.lost = Counter({key: self.lost[key] + 1 for key in lost})

    def missing(self) -> list[str]:
        """Return the cells without a row."""
        return [key for key in self.cells if key not in self.rows]

    def state(self, key: str) -> str | None:
        """Return the state of the experiment of a cell, None if the queue has none."""
        entry = self.entries.get(key)
        return entry.state if entry else None

    def counts(self) -> str:
        """Return in words how many cells are done and what the others do."""
        states = Counter(self.state(key) for key in self.missing())
        parts = [f"{len(self.rows)} of {len(self.cells)} cells are in the ledger"]
        parts += [f"{states[one]} {one}" for one in (RUNNING, QUEUED, LOST, FAILED) if states[one]]
        if rest := states[None] + states[DONE]:
            parts.append(f"{rest} to run")
        return ", ".join(parts)

    def put(self, jobs: int) -> None:
        """Queue the missing cells that are not in the queue, or that failed, and start workers."""
        new = [key for key in self.missing() if self.state(key) not in (QUEUED, RUNNING, LOST)]
        for number, key in enumerate(new, start=1):
            self._put(key)
            if number == min(jobs, len(new)):
                self._start(jobs)
        if not new:
            self._start(jobs)

    def wait(self, jobs: int) -> None:
        """Return when no missing cell is in the queue and no experiment of the study runs.

        Start workers again if they were killed.
        """
        idle, quiet, shown = 0, 0, ""
        while True:
            self.look()
            if (found := self.counts()) != shown:
                log.info("%s", shown := found)
            states = Counter(self.state(key) for key in self.missing())
            # An experiment goes on for a while after the stage that adds its row.
            states[RUNNING] = sum(one.state == RUNNING for one in self.entries.values())
            # For a moment, an experiment that starts is in no state.
            quiet = 0 if states[QUEUED] + states[RUNNING] + states[LOST] else quiet + 1
            if quiet > (PATIENCE if states[None] else 0):
                return
            for key in [key for key, looks in self.lost.items() if looks >= PATIENCE]:
                queued.drop(self.repository, self.entries.pop(key))
                if key not in self.rows:
                    log.warning("%s was killed, and is queued again", self.cells[key])
                    self._put(key)
            idle = idle + 1 if states[QUEUED] and states[RUNNING] < jobs else 0
            if idle > PATIENCE:
                idle = 0
                self._start(jobs)
            time.sleep(POLL)

    def described(self, key: str) -> str:
        """Return in words why a cell is missing, with the path of its log."""
        cell, entry = self.cells[key], self.entries.get(key)
        if entry is None:
            return f"missing: {cell}"
        if entry.state == DONE:
            return (
                f"no row: {cell}: its run ended, and the ledger kept another row in its place; see"
                f" {entry.log}"
            )
        if entry.log is None or not entry.log.exists():
            return f"{entry.state}: {cell}: it printed nothing; dvc queue logs {entry.name}"
        lines = entry.log.read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [line for line in lines if line.startswith(("error in", "ERROR"))]
        return f"{entry.state}: {cell}: {(errors or lines or [''])[0]}; log: {entry.log}"

    def _start(self, jobs: int) -> None:
        """Start the workers of the queue that are not there, and share the cores among them.

        By default, each process of torch takes all cores, and a waiting thread keeps its core busy.
        """
        threads = str(max(1, machines.cores() // jobs))
        environment = {"OMP_NUM_THREADS": threads, **os.environ}
        _dvc(self.repository, "queue", "start", "--jobs", str(jobs), environment=environment)

    def _put(self, key: str) -> None:
        cell = self.cells[key]
        name = study.experiment(key, cell)
        if key in self.entries:
            queued.drop(self.repository, self.entries.pop(key))
        head = _output("git", "-C", str(self.repository), "rev-parse", "HEAD")
        ref = f"refs/exps/{head[:2]}/{head[2:]}/{name}"
        if _output("git", "-C", str(self.repository), "for-each-ref", ref):
            _dvc(self.repository, "exp", "remove", name)  # its row was removed to run it again
        _dvc(self.repository, "exp", "run", "--queue", "--name", name, *study.flags(cell))
        log.info("queued %s", cell)


def _dvc(repository: Path, *words: str, environment: Mapping[str, str] = os.environ) -> str:
    """Run DVC, again while another process of it holds a lock."""
    command = [sys.executable, "-m", "dvc", "--cd", str(repository), *words]
    for _ in range(PATIENCE):
        try:
            return _output(*command, environment=environment)
        except ValueError as error:
            if "is busy" not in str(error):
                raise
            time.sleep(POLL)
    return _output(*command, environment=environment)


def _output(*command: str, environment: Mapping[str, str] = os.environ) -> str:
    """Run a command and return what it printed.

    It is in a session of its own: DVC stashes the workspace while it queues an experiment, and
    Ctrl-C at that moment would leave the workspace without its edits. A pipe would stay open until
    the last worker ends, so the output goes to a file.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
        done = subprocess.run(  # noqa: S603 - the values were checked
            command,
            check=False,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        out.seek(0)
        text = out.read().strip()
    if done.returncode:
        raise ValueError(f"{' '.join(command)} ended with {done.returncode}: {text}")
    return text


if __name__ == "__main__":
    program.main(run)
