"""DVC is killed at random with all that it started, or alone, and continues when started again."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import killing
from tests.test_dag import IDENTITY, Repository

log = logging.getLogger("kills")

LONG = pytest.mark.kills
FEW = ("check", "download@arc-agi-1")
"""Stages that take a second each."""
APART = 5
"""Maximum number of stages from a start to a kill."""
DELAY = 2.0
"""Maximum number of seconds from the start of the last one to the kill."""
HEALED = {
    "dvc.lock is empty": ("git", "checkout", "--quiet", "dvc.lock"),
    ".dvc/tmp/rwlock is empty": ("rm", ".dvc/tmp/rwlock"),
}
"""Start of a line of `make repro` -> the command that it names."""


class Pipeline(Repository):
    """A copy of this repository at the model and the scale `tiny`, to run and to kill."""

    def __init__(self, folder: Path, *targets: str) -> None:
        folder.mkdir()
        super().__init__(folder)
        self.targets = targets
        self.log = folder.with_suffix(".log")
        self.mark = {"ARCMIX_TEST": str(folder)}
        params = folder / "params.yaml"
        text = params.read_text().replace(
            "\nmodel: smollm2-135m\nscale: quick\n", "\nmodel: tiny\nscale: tiny\n"
        )
        params.write_text(text.replace("\n  steps: 0\n", "\n  steps: 4\n"))
        self.run("git", "commit", "--quiet", "--all", "--message=tiny")

    def begin(self) -> subprocess.Popen[bytes]:
        """Start `dvc repro`."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        with self.log.open("ab") as out:
            return subprocess.Popen(
                ["dvc", "repro", *self.targets],
                cwd=self.folder,
                env=os.environ | IDENTITY | self.mark | {"PATH": path},
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def finish(self) -> None:
        """Run `dvc repro` to its end."""
        status = self.begin().wait(900)
        assert status == 0, self.log.read_text()

    def stages(self) -> int:
        """Return how many stages were started so far."""
        return self.log.read_text().count("Running stage") if self.log.exists() else 0

    def heal(self) -> int:
        """Do what `make repro` says after a kill; return the number of repaired files."""
        healed = 0
        for line, command in HEALED.items():
            done = subprocess.run(
                ["make", "--silent", "whole"],
                cwd=self.folder,
                check=False,
                stderr=subprocess.PIPE,
                text=True,
            )
            if done.stderr.startswith(line):
                self.run(*command)
                healed += 1
        return healed

    def content(self) -> dict[str, bytes]:
        """Return the contents of all files of the pipeline and the names of untracked ones."""
        found = {
            f"data/{name}": text for name, text in killing.content(self.folder / "data").items()
        }
        found |= killing.content(self.folder / "results")
        status = self.run("git", "status", "--porcelain", "--untracked-files=all")
        found["git status"] = status.encode()
        return found


@pytest.mark.parametrize(
    ("targets", "kills"),
    [(FEW, 2), pytest.param(FEW, 10, marks=LONG), pytest.param((), 12, marks=LONG)],
    ids=["few", "few-long", "whole"],
)
def test_dvc_that_is_killed_ends_as_if_it_was_not(tmp_path, targets, kills):
    calm = Pipeline(tmp_path / "calm", *targets)
    calm.finish()
    expected = calm.content()
    apart = min(calm.stages(), APART)
    healed = runs = done = starts = 0
    while done < kills:
        killed = Pipeline(tmp_path / f"killed-{runs}", *targets)
        for _ in range(min(killing.ROUND, kills - done)):
            before = killed.stages()
            process = killed.begin()
            wait, delay = (killing.uniform(f"{one} {targets}", starts) for one in ("wait", "delay"))
            starts += 1
            while process.poll() is None and killed.stages() - before < int(wait * (apart + 1)):
                time.sleep(0.01)
            try:
                process.wait(delay * DELAY)
            except subprocess.TimeoutExpired:
                # Every other time, DVC alone is killed; its stage ends soon after.
                if starts % 2:
                    process.kill()
                else:
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                done += 1
                assert killing.none_alive(killed.mark)
                healed += killed.heal()
            else:
                assert process.returncode == 0, killed.log.read_text()
                break
        killed.finish()
        assert "waiting" not in killed.log.read_text()
        found = killed.content()
        assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
        assert [name for name in found if found[name] != expected[name]] == []
        status = killed.run("dvc", "status", *targets)
        assert "up to date" in status or status.split() == ["local:", "always", "changed"]
        assert killing.none_alive(killed.mark)
        runs += 1
    log.info("dvc repro %s: %d kills in %d runs, %d repaired files", targets, done, runs, healed)


@LONG
def test_queued_runs_of_one_key_at_the_same_time_have_one_fine_tune(tmp_path):
    pipeline = Pipeline(tmp_path / "queue")
    pipeline.finish()
    pipeline.run("git", "add", "--all")
    pipeline.run("git", "commit", "--quiet", "--message=run")
    seeds = (1, 2, 3)
    for seed in seeds:
        # These differ in the number of views, and share the work of `finetune` and of `adapt`.
        views = "predict.views=1,3"
        pipeline.run("dvc", "exp", "run", "--queue", "-S", f"seed={seed}", "-S", views)
    pipeline.run("dvc", "queue", "start", "--jobs", "2")
    deadline = time.monotonic() + 1800
    while {"Queued", "Running"} & {*(status := pipeline.run("dvc", "queue", "status")).split()}:
        assert time.monotonic() < deadline, status
        time.sleep(5)
    assert status.count("Success") == 2 * len(seeds), status
    for seed in seeds:
        rows = [row for row in pipeline.rows().values() if row["seed"] == seed]
        assert len(rows) == 2
        first, second = rows
        assert first["adapter"] == second["adapter"]
        assert first["history"] == second["history"]
    log.info("dvc queue: %d pairs", len(seeds))
