import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.launching import REAL, ROOT

STAGE = """
import os
import time
from pathlib import Path
from arcmix import program

def run(*, folder: Path):
    (folder / f"rank-{os.environ.get('RANK', 0)}").write_text("started")
    if "RANK" in os.environ:
        from arcmix.models import parallel

        # The other rank waits for this one, as at the end of a stage.
        parallel.from_main(lambda: time.sleep(600))
    time.sleep(600)

program.main(run)
"""
"""A stage whose processes say that they started, and work for ten minutes."""

PIPELINE = """\
stages:
  stage:
    cmd: PYTHONPATH={root}/src {launch} stage.py --folder .
    params: [any]
"""


@pytest.fixture
def begin(tmp_path):
    """A function that starts a command in a folder with the stage, and waits for its ranks."""
    marked = {"ARCMIX_TEST": str(tmp_path)}
    (tmp_path / "stage.py").write_text(STAGE)

    def started(command, ranks, **variables):
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT / "src")} | marked
        process = subprocess.Popen(command, cwd=tmp_path, env=environment | variables)
        files = [tmp_path / f"rank-{rank}" for rank in range(ranks)]
        while not all(file.exists() and file.read_text() for file in files):
            assert process.poll() is None
            time.sleep(0.05)
        return process, alive

    def alive():
        """Return the processes that have the mark in their environment."""
        found = []
        for process in psutil.process_iter():
            try:
                if marked.items() <= process.environ().items():
                    found.append(process)
            except psutil.Error:
                continue
        return found

    yield started
    for process in alive():
        process.kill()


def ended(alive, within=10):
    """Return whether all processes end within some seconds."""
    deadline = time.monotonic() + within
    while alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


LAUNCH = REAL.replace("launch/", f"{ROOT}/launch/")


def test_the_ranks_end_when_their_launcher_is_killed(begin):
    launcher, alive = begin([*LAUNCH.split(), "stage.py", "--folder", "."], 2)
    assert len(alive()) >= 3
    launcher.kill()
    launcher.wait()
    assert ended(alive)


@pytest.mark.parametrize(
    ("launch", "ranks", "shell", "how"),
    [
        ("python", 1, "/bin/bash", signal.SIGKILL),
        ("python", 1, "/bin/sh", signal.SIGKILL),
        (LAUNCH, 2, "/bin/sh", signal.SIGTERM),
    ],
    ids=["process", "process-of-a-shell", "ranks"],
)
def test_a_stage_ends_when_dvc_is_killed(tmp_path, begin, launch, ranks, shell, how):
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], cwd=tmp_path, check=True)
    (tmp_path / "params.yaml").write_text("any: 1\n")
    (tmp_path / "dvc.yaml").write_text(PIPELINE.format(root=ROOT, launch=launch))
    # Some shells stay between DVC and the stage, others become the stage.
    dvc, alive = begin(["dvc", "repro"], ranks, SHELL=shell)
    dvc.send_signal(how)
    dvc.wait()
    assert ended(alive)


def test_a_stage_that_was_started_by_hand_outlives_its_shell(begin):
    by_hand = "env -u DVC_STAGE -u RANK python stage.py --folder . & wait $!"
    shell, alive = begin(["sh", "-c", by_hand], 1)
    shell.kill()
    shell.wait()
    assert not ended(alive, within=3)
