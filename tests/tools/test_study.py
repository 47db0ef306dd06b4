import contextlib
import inspect
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from arcmix import machines
from arcmix.ledger import queued
from tests import targets
from tests.studying import ENVIRONMENT, Repository
from tools import cluster, study

ROOT = Path(__file__).parents[2]
ALL = [("new-train", 0), ("new-train", 1), ("train", 0), ("train", 1)]
SLOW = pytest.mark.slow
"""Mark of the tests that wait for DVC's queue."""
READS = """\
import sys
from collections import Counter
from pathlib import Path
from arcmix.ledger import queued
opened = Counter()
sys.addaudithook(lambda event, words: opened.update([words[0]] if event == "open" else []))
found = queued.entries(Path("."))
reads = [times for path, times in opened.items() if "/processed/" in str(path)]
print([entry.state for entry in found.values()], min(reads), max(reads))
"""
"""Says the states of the experiments of a repository, and how often their messages are read."""


@SLOW
def test_each_cell_runs_once_and_the_table_has_all(tmp_path):
    repository = Repository(tmp_path)

    first = repository.run(*repository.command(2), threads=3)
    again = repository.run(*repository.command(2), threads=3)

    assert repository.rows() == ALL
    assert sorted(repository.runs()) == [f"{dataset} {seed}" for dataset, seed in ALL]
    assert "0 of 4 cells are in the ledger, 4 to run" in first
    for output in (first, again):
        assert "4 of 4 cells are in the ledger\n" in output
        assert re.search(r"^\| new-train +\| baseline ", output, re.MULTILINE)
    assert "queued" not in again

    # A row that was removed is made again, though DVC has its experiment.
    (removed,) = (tmp_path / "results/ledger/train").glob("1-*.json")
    removed.unlink()
    repository.run(*repository.command(2), threads=3)
    assert repository.rows() == ALL
    assert repository.runs()[4:] == ["train 1"]
    assert repository.threads() == ["3"] * 5

    # A look at the queue may not take longer with each experiment that ended.
    last = repository.run(sys.executable, "-c", READS).splitlines()[-1]
    assert last == f"{['done'] * 4} 2 2"


@SLOW
def test_the_runs_share_the_cores(tmp_path):
    repository = Repository(tmp_path)
    repository.run(*repository.command(2), threads=None)
    shared = str(max(1, machines.cores() // 2))
    assert repository.threads() == [shared] * 4


@SLOW
def test_the_program_ends_after_the_last_experiment_and_not_with_its_row(tmp_path):
    repository = Repository(tmp_path, after=3 * study.POLL)
    repository.run(*repository.command(4))
    assert repository.rows() == ALL
    states = [one.state for one in queued.entries(tmp_path).values()]
    assert states == [queued.DONE] * 4


@SLOW
def test_two_programs_at_the_same_time_run_each_cell_once(tmp_path):
    repository = Repository(tmp_path)
    other = subprocess.Popen(
        repository.command(2), cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.DEVNULL
    )
    repository.run(*repository.command(2))
    assert other.wait() == 0
    assert sorted(repository.runs()) == [f"{dataset} {seed}" for dataset, seed in ALL]


@SLOW
def test_no_job_runs_nothing_and_names_the_missing_cells(tmp_path):
    repository = Repository(tmp_path)
    output = repository.run(*repository.command(0))
    named = [line for line in output.splitlines() if line.startswith("missing: ")]
    assert named == [
        "missing: new-train, seed 0",
        "missing: train, seed 0",
        "missing: new-train, seed 1",
        "missing: train, seed 1",
    ]
    assert repository.runs() == []


@SLOW
def test_a_failed_cell_is_named_with_its_error_and_its_log_and_runs_again(tmp_path):
    repository = Repository(tmp_path, fails="train")

    output = repository.run(*repository.command(2), status=1)

    assert repository.rows() == ALL[:2]
    failed = re.findall(
        r"^failed: train, seed (\d): error in record: the dataset train fails; log: (.*)$",
        output,
        re.MULTILINE,
    )
    assert [seed for seed, _ in failed] == ["0", "1"]
    assert all("the dataset train fails" in Path(tmp_path, log).read_text() for _, log in failed)
    assert output.rstrip().endswith("some: 2 of 4 cells are missing")

    repository.run(*repository.command(2), status=1)
    # Only the failed cells ran again.
    counts = [repository.runs().count(f"{dataset} {seed}") for dataset, seed in ALL]
    assert counts == [1, 1, 2, 2]


@SLOW
def test_a_killed_program_and_killed_workers_continue_without_a_second_run(tmp_path):
    repository = Repository(tmp_path, seconds=8)
    process = subprocess.Popen(
        repository.command(1),
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: len(repository.runs()) == 2)  # the second runs, and others are in the queue
    process.kill()
    process.wait()
    before = queued.entries(tmp_path)
    for one in started_in(tmp_path):
        with contextlib.suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGKILL)

    output = repository.run(*repository.command(1))

    assert repository.rows() == ALL
    # The run that was killed started twice, and no other.
    assert len(repository.runs()) == 5
    assert "was killed, and is queued again" in output
    after = queued.entries(tmp_path)
    assert before.keys() <= after.keys()
    assert len(after) == 4
    assert {one.state for one in after.values()} == {queued.DONE}


def wait_for(condition):
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def started_in(folder):
    """Return the workers and the runs of a repository, which work in it or in clones in it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(folder):
                found.append(process)
    return found


@pytest.mark.parametrize(("on", "module"), [("", study), ("slurm", cluster), ("sky", cluster)])
def test_make_calls_the_tool(on, module):
    name, named = targets.tool("study", "STUDY=some", f"ON={on}")
    assert f"tools.{name}" == module.__name__
    assert named.keys() == inspect.signature(module.run).parameters.keys()


def test_make_without_a_study_says_what_is_missing():
    done = targets.dry("study")
    assert done.returncode == 2
    assert "name an entry of studies: make study STUDY=NAME" in done.stderr
