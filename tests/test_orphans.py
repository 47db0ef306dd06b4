import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import killing
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
    mark = {"ARCMIX_TEST": str(tmp_path)}
    (tmp_path / "stage.py").write_text(STAGE)

    def started(command, ranks, shell="/bin/sh", **options):
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        changes = {"PATH": path, "PYTHONPATH": str(ROOT / "src"), "SHELL": shell} | mark
        process = subprocess.Popen(command, cwd=tmp_path, env=os.environ | changes, **options)
        files = [tmp_path / f"rank-{rank}" for rank in range(ranks)]
        while not all(file.exists() and file.read_text() for file in files):
            assert process.poll() is None
            time.sleep(0.05)
        return process, mark

    yield started
    for process in killing.alive(mark):
        process.kill()


LAUNCH = REAL.replace("launch/", f"{ROOT}/launch/")


def test_the_ranks_end_when_their_launcher_is_killed(begin):
    launcher, mark = begin([*LAUNCH.split(), "stage.py", "--folder", "."], 2)
    assert len(killing.alive(mark)) >= 3
    launcher.kill()
    launcher.wait()
    assert killing.none_alive(mark)


@pytest.fixture
def repository(tmp_path):
    """A function that makes the folder a repository whose pipeline is the stage."""

    def made(launch):
        subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
        dvc = [sys.executable, "-m", "dvc", "init", "--quiet"]
        subprocess.run(dvc, cwd=tmp_path, check=True)
        (tmp_path / "params.yaml").write_text("any: 1\n")
        (tmp_path / "dvc.yaml").write_text(PIPELINE.format(root=ROOT, launch=launch))

    return made


@pytest.mark.parametrize(
    ("launch", "ranks", "shell", "how"),
    [
        ("python", 1, "/bin/bash", signal.SIGKILL),
        ("python", 1, "/bin/sh", signal.SIGKILL),
        (LAUNCH, 2, "/bin/sh", signal.SIGTERM),
    ],
    ids=["process", "process-of-a-shell", "ranks"],
)
def test_a_stage_ends_when_dvc_is_killed(repository, begin, launch, ranks, shell, how):
    repository(launch)
    # Some shells stay between DVC and the stage, others become the stage.
    dvc, mark = begin(["dvc", "repro"], ranks, shell)
    dvc.send_signal(how)
    dvc.wait()
    assert killing.none_alive(mark)


def test_a_stage_that_was_started_by_hand_outlives_its_shell(begin):
    by_hand = "env -u DVC_STAGE -u RANK python stage.py --folder . & wait $!"
    shell, mark = begin(["sh", "-c", by_hand], 1)
    shell.kill()
    shell.wait()
    assert not killing.none_alive(mark, within=3)


def test_an_interrupt_of_dvc_and_its_stage_is_one_line_of_each(repository, begin, tmp_path):
    repository("python")
    with (tmp_path / "log").open("w") as log:
        dvc, mark = begin(["dvc", "repro"], 1, stderr=log, start_new_session=True)
    os.killpg(dvc.pid, signal.SIGINT)  # as by a terminal
    assert dvc.wait() == 255
    assert killing.none_alive(mark)
    stage, error, *rest = (tmp_path / "log").read_text().splitlines()
    assert stage == "arcmix.stage: interrupted; the same command continues"
    assert error.startswith("ERROR: failed to reproduce 'stage': failed to run:")
    assert rest == []
