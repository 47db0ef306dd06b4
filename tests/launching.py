"""Programs started as the pipeline starts them, in one process or as ranks of several.

Most of the time of a start goes into imports of torch and of the libraries on it. So a program is
forked from a server that has imported them, unless a test is about the launcher itself (`REAL`).
"""

import multiprocessing
import os
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from arcmix import fingerprints

ROOT = Path(__file__).parents[1]


def fingerprint(program: str) -> str:
    """Return the text of `data/code/PROGRAM`, without which the program does not start."""
    file = ROOT / "stages" / f"{program}.py"
    return fingerprints.fingerprint([file], ROOT / "src" / "arcmix") + "\n"


ONE = "python"
"""Starts one process."""
TWO = "two ranks"
"""Starts two ranks, with the variables of the environment that `accelerate launch` gives them."""
REAL = "accelerate launch --config_file launch/ddp.yaml --num_processes 2"
"""Starts two ranks by the launcher itself."""

PRELOADED = (
    "accelerate",
    "datasets",
    "pandas",
    "peft",
    "pydantic",
    "torch",
    "transformers",
    "trl.trainer.sft_trainer",
)
"""Modules that the server imports. None of ours: `arcmix.program` reads its rank at import."""

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([*PRELOADED])


class Started:
    """Forked processes that run one program, with the methods of `subprocess.Popen`."""

    def __init__(self, processes: list[BaseProcess], log: Path) -> None:
        self.processes, self.log = processes, log
        self.text = ""

    @property
    def returncode(self) -> int | None:
        """Exit status of the first process that failed, else 0; None while one runs."""
        found = [process.exitcode for process in self.processes]
        if None in found:
            return None
        return next((status for status in found if status), 0)

    def poll(self) -> int | None:
        """Return the exit status, None while a process runs."""
        return self.returncode

    def signal(self, number: int) -> None:
        """Send a signal to all processes."""
        for process in self.processes:
            assert process.pid is not None
            os.kill(process.pid, number)

    def kill(self) -> None:
        """Kill all processes."""
        for process in self.processes:
            process.kill()

    def communicate(self, timeout: float = 300) -> tuple[None, str]:
        """Wait for the end; return what the processes wrote, and remove the log."""
        deadline = time.monotonic() + timeout
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.exitcode is None:
                self.kill()
                raise subprocess.TimeoutExpired("program", timeout, stderr=self.log.read_bytes())
        if self.log.exists():
            self.text = self.log.read_text()
            self.log.unlink()
        return None, self.text


Program = Started | subprocess.Popen[str]
"""A program that was started."""


def start(launch: str, program: str, *words: object) -> Program:
    """Start a program of the repository.

    Args:
        launch: One of `ONE`, `TWO` and `REAL`.
        program: `-m MODULE` or a file, maybe with further arguments.
        words: Its arguments.
    """
    threads = str(torch.get_num_threads())
    # A launcher would have each process use one thread where no variable says how many.
    environment = os.environ | {"PYTHONPATH": "src:.", "OMP_NUM_THREADS": threads}
    arguments = [*shlex.split(program), *map(str, words)]
    if launch == REAL:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return subprocess.Popen(
            [*shlex.split(launch), *arguments],
            cwd=ROOT,
            env=environment | {"PATH": path},
            stderr=subprocess.PIPE,
            text=True,
        )
    ranks = [environment]
    if launch == TWO:
        shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
        shared |= {"MASTER_PORT": str(_free_port()), "ACCELERATE_MIXED_PRECISION": "no"}
        ranks = [environment | shared | {"RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1")]
    handle, log = tempfile.mkstemp(suffix=".log")
    os.close(handle)
    processes = [FORKS.Process(target=_run, args=(arguments, rank, log)) for rank in ranks]
    for process in processes:
        process.start()
    return Started([*processes], Path(log))


def begin_twice(
    begin: Callable[[Path], Program],
    folders: Iterable[Path],
    running: Callable[[], object],
    text: str,
) -> tuple[Started, Started]:
    """Return a program that is suspended at work, and an equal one that waits for it.

    Without the suspension, the first may end before the second looks. The caller lets the first
    continue, by `SIGCONT`, or kills it.

    Args:
        begin: Starts the program in a folder.
        folders: The folders of both.
        running: Returns something true as soon as the first is at work.
        text: What the second writes when it waits.
    """
    one, other = folders
    first = begin(one)
    assert isinstance(first, Started)
    _wait(first, running)
    first.signal(signal.SIGSTOP)
    second = begin(other)
    assert isinstance(second, Started)
    _wait(second, lambda: text in second.log.read_text())
    return first, second


def _wait(started: Started, condition: Callable[[], object]) -> None:
    while not condition():
        assert started.poll() is None, started.communicate()
        time.sleep(0.005)


def finish(started: Program, status: int = 0) -> str:
    """Wait for a program, check its exit status, and return its log."""
    _, log = started.communicate(timeout=300)
    assert started.returncode == status, log
    return log


def kill(started: Program) -> None:
    """Kill a program with all its processes, and wait for their end."""
    started.kill()
    finish(started, status=-signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _run(arguments: list[str], environment: dict[str, str], log: str) -> None:
    """Run a program in a forked process, as the interpreter runs it."""
    with open(log, "ab", buffering=0) as file:  # noqa: PTH123 - a descriptor to duplicate
        os.dup2(file.fileno(), sys.stderr.fileno())
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
    if arguments[0] == "-m":
        sys.argv = [arguments[1], *arguments[2:]]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")
