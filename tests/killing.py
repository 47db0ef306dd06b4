"""Programs that are killed at random and started again until they end, and pairs of programs.

What a program wrote in the end is compared with what it writes undisturbed.
"""

import dataclasses
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil

from arcmix import randomness
from tests import launching

KILLED = Path(__file__).with_name("killed.py")
CACHE = "cache"
"""Name of the folder of what a run may leave for the next one, beside its outputs."""
CLOCKS = ("tokens_per_second", "answer_tokens_per_second", "seconds_per_step", "seconds")
"""Columns with speeds and times."""
WITHIN = 10.0
"""Seconds in which what a killed program has started has to end."""
ROUND = 5
"""Kills after which a run may end, so that the kills are of runs at all stages of their work."""


@dataclass(frozen=True)
class Work:
    """A program with its files.

    Args:
        module: The program.
        flags: Its command line, flag -> value.
        outs: The flags of its outputs, which DVC removes before it starts the program. Those that
            DVC does not remove are not among them.
    """

    module: str
    flags: Mapping[str, object]
    outs: tuple[str, ...]

    def start(self, at: int = 0, count: Path | None = None) -> launching.Program:
        """Start the program, as DVC does, to be killed at a change of a file unless that is 0."""
        for name in self.outs:
            path = Path(str(self.flags[name]))
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
        words = [word for name, value in self.flags.items() for word in (f"--{name}", str(value))]
        counted = count or "/dev/null"
        return launching.start(launching.ONE, f"{KILLED} {at} {counted} {self.module}", *words)


@dataclass
class Tally:
    """What was done, and how often."""

    kills: int = 0
    """Kills of a program that ran."""
    runs: int = 0
    """Runs that ended after kills."""
    pairs: int = 0
    """Pairs of runs that ended."""


def content(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files of a folder by name, but for clocks and caches."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if CACHE in name.parts or not path.is_file():
            continue
        found[str(name)] = path.read_bytes()
        if path.suffix == ".csv":
            table = pd.read_csv(path, dtype=str)
            clocks = [column for column in CLOCKS if column in table]
            found[str(name)] = table.drop(columns=clocks).to_csv().encode()
    return found


class Trial:
    """A program, and what it writes undisturbed.

    Args:
        folder: Where its runs work, each in a folder of its own.
        prepare: Writes the inputs of a run to a folder, and returns the program.
    """

    def __init__(self, folder: Path, prepare: Callable[[Path], Work]) -> None:
        self._folder, self._prepare = folder, prepare
        # The server of `launching` starts with the first program, which takes seconds.
        (folder / "nothing.py").touch()
        launching.finish(launching.start(launching.ONE, str(folder / "nothing.py")))
        count = folder / "count"
        work = self._new("undisturbed")
        started = time.monotonic()
        launching.finish(work.start(count=count))
        self.seconds = time.monotonic() - started
        """Duration of an undisturbed run."""
        self.changes = int(count.read_text())
        """Number of its changes of files."""
        self.expected = content(folder / "undisturbed")
        self.tally = Tally()
        self._starts = 0

    def _new(self, name: str) -> Work:
        (self._folder / name).mkdir(parents=True)
        return self._prepare(self._folder / name)

    def kill(self, kills: int) -> None:
        """Kill runs until there were so many kills, and check how each run ends."""
        while self.tally.kills < kills:
            name = f"killed-{self.tally.runs}"
            work = self._new(name)
            wanted = min(kills, self.tally.kills + ROUND)
            while self.tally.kills < wanted and self._killed(work):
                self.tally.kills += 1
            log = launching.finish(work.start())
            assert "waiting" not in log, log
            self._check(name)
            self.tally.runs += 1

    def _killed(self, work: Work) -> bool:
        """Start a program, kill it at a random point, and return whether it still ran there."""
        point = uniform(f"kill {work.module}", self._starts)
        self._starts += 1
        # Every other kill is at a change of a file, which takes no time but may tear the most.
        if self._starts % 2:
            process = work.start(at=1 + int(point * self.changes))
            process.communicate(timeout=300)
        else:
            process = work.start()
            self._kill(process, point)
        assert process.returncode in {0, -signal.SIGKILL}, process.communicate()
        return process.returncode != 0

    def _kill(self, process: launching.Program, point: float) -> None:
        """Kill a program at a point of the duration of an undisturbed run."""
        deadline = time.monotonic() + point * self.seconds
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.kill()
        process.communicate(timeout=300)

    def pair(self) -> None:
        """Run two programs with one cache at the same time, and check how both end.

        Every other time, the first one is killed while both run, and started again at the end.
        """
        number = self.tally.pairs
        names = [f"pair-{number}-{one}" for one in ("first", "second")]
        first, second = (self._new(name) for name in names)
        shared = {name: value for name, value in first.flags.items() if f"/{CACHE}/" in str(value)}
        second = dataclasses.replace(second, flags={**second.flags, **shared})
        started = [first.start(), second.start()]
        if number % 2:
            self._kill(started[0], uniform(f"pair {first.module}", number))
            launching.finish(started.pop())
            started = [first.start()]
        for process in started:
            launching.finish(process)
        for name in names:
            self._check(name)
        self.tally.pairs += 1

    def _check(self, name: str) -> None:
        found = content(self._folder / name)
        assert found.keys() == self.expected.keys(), f"{found.keys() ^ self.expected.keys()}"
        differing = [one for one in found if found[one] != self.expected[one]]
        assert not differing, f"{self._folder / name}: {differing} differ"


def uniform(purpose: str, index: int) -> float:
    """Return a random number in [0, 1)."""
    return float(randomness.uniform(randomness.words(0, purpose, index, 1, 1))[0, 0])


def alive(mark: dict[str, str]) -> list[psutil.Process]:
    """Return the processes whose environment has some variables."""
    found = []
    for process in psutil.process_iter():
        try:
            if mark.items() <= process.environ().items():
                found.append(process)
        except psutil.Error:
            continue
    return found


def none_alive(mark: dict[str, str], within: float = WITHIN) -> bool:
    """Return whether all such processes end within some seconds."""
    deadline = time.monotonic() + within
    while alive(mark):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
