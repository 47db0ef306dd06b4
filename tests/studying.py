"""A repository with a study whose runs take a second: a stage writes the row, and trains nothing.

As a program, it is that stage: studying.py FAILS SECONDS. The dataset FAILS fails.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from arcmix import fingerprints
from arcmix.config import check
from arcmix.ledger import records, store
from arcmix.sources import inputs
from tests.rows import row, sealed

ROOT = Path(__file__).parents[1]
STUDY = """\
studies:
  some:
    datasets: [new-train, train]
    seeds: [0, 1]
    scale: tiny
    model: tiny
    baseline: new-train
"""
PIPELINE = """\
stages:
  finetune:
    cmd: mkdir -p data/adapter && cat params.yaml > data/adapter/weights
    params: [dataset, seed]
    outs: [data/adapter]
  record:
    cmd: python -m tests.studying {fails} {seconds}
    deps: [data/adapter]
    params: [dataset, model, scale, seed, datasets]
    outs: [results/ledger: {{cache: false, persist: true}}]
  code:
    cmd: mkdir -p data && echo code > data/code
    outs: [data/code]
  ablation:
    cmd: sleep {after} && ls results/ledger > results/ablation.md
    deps: [results/ledger]
    outs: [results/ablation.md: {{cache: false}}]
"""
WHO = {
    f"GIT_{role}_{field}": "test" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")
}
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
ENVIRONMENT |= WHO | {
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
}


class Repository:
    """The repository."""

    def __init__(
        self, folder: Path, fails: str = "none", seconds: float = 0, after: float = 0
    ) -> None:
        """Make the repository.

        Args:
            folder: Where it is made.
            fails: A dataset whose runs fail.
            seconds: Time that a run takes before its row is written.
            after: Time that it takes after that.
        """
        self.folder = folder
        (folder / "results/ledger").mkdir(parents=True)
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder)
        for name in ("src", "stages"):
            (folder / name).symlink_to(ROOT / name)
        text = (ROOT / "params.yaml").read_text()
        start, end = text.index("studies:\n"), text.index("# The command that starts finetune")
        (folder / "params.yaml").write_text(text[:start] + STUDY + text[end:])
        (folder / "dvc.yaml").write_text(PIPELINE.format(fails=fails, seconds=seconds, after=after))
        (folder / ".gitignore").write_text(
            "/.venv\n/data\n/src\n/stages\n/runs\n/threads\n/.cache\n/study-*\n"
        )
        self.run("git", "init", "--quiet", "--initial-branch=main")
        self.run("dvc", "init", "--quiet")
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message=start")

    def run(self, *command: str, status: int = 0, threads: int | None = 1) -> str:
        """Run a command in the repository and return what it printed.

        Args:
            command: The command.
            status: Its exit status.
            threads: The number of threads that it is given; None to state none.
        """
        environment = {**ENVIRONMENT, "OMP_NUM_THREADS": str(threads)}
        if threads is None:
            del environment["OMP_NUM_THREADS"]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == status, f"{command} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def command(self, jobs: int) -> list[str]:
        """Return the command that runs the study."""
        flags = {"params": "params.yaml", "repository": ".", "rows": "results/ledger"}
        flags |= {"library": "src/arcmix", "programs": "stages", "name": "some"}
        flags |= {"lock": ".cache/study", "jobs": str(jobs)}
        words = [word for name, value in flags.items() for word in (f"--{name}", value)]
        return [sys.executable, "-m", "tools.study", *words]

    def runs(self) -> list[str]:
        """Return the dataset and the seed of each run that started."""
        file = self.folder / "runs"
        return file.read_text().splitlines() if file.exists() else []

    def threads(self) -> list[str]:
        """Return the number of threads that each run was given."""
        return (self.folder / "threads").read_text().splitlines()

    def rows(self) -> list[tuple[str, int]]:
        """Return the dataset and the seed of each row."""
        return [(one.dataset, one.seed) for one in records.read(self.folder / "results/ledger")]


def write(fails: str, seconds: float) -> None:
    """Write the row of the present values."""
    root, here = Path(os.environ["DVC_ROOT"]), Path.cwd()
    file = check.check_file(here / "params.yaml")
    values = check.made_of(file)
    with (root / "runs").open("a") as runs, (root / "threads").open("a") as threads:
        runs.write(f"{file.dataset} {file.seed}\n")
        threads.write(os.environ.get("OMP_NUM_THREADS", "all") + "\n")
    time.sleep(seconds)
    if file.dataset == fails:
        sys.exit(f"error in record: the dataset {fails} fails")
    made = row(file.dataset, file.seed, model=file.model, scale=file.scale, per_cell=[0.5, 0.6])
    programs = fingerprints.programs(ROOT / "stages")
    made = sealed(
        made,
        adapter=store.address(here / "data/adapter"),
        code=fingerprints.fingerprints(programs, ROOT / "src/arcmix")["all"],
        settings=records.chosen(values) | {"metrics_version": 1, "validation_digest": "c" * 64},
        components=[*values["components"].values()],
        mix=made.mix | {"sources": inputs.contents(values["sources"], file.sources)},
    )
    for folder in {here, root}:
        records.add(folder / "results/ledger", made)


if __name__ == "__main__":
    write(sys.argv[1], float(sys.argv[2]))
