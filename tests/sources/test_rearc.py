import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from arcmix import tasks
from arcmix.config import params
from arcmix.sources import pins, rearc
from tests import gym, wheels


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheels.pack(tmp_path_factory.mktemp("wheel"), gym.MEMBERS)


def load(packed: Path, cache: Path, workers: int = 1, **changed: object) -> pins.Loaded:
    """Draw from a wheel that is already in the cache."""
    sha256 = wheels.sha256(packed)
    cache.mkdir(exist_ok=True)
    shutil.copy(packed, cache / f"toy-gym-1.0-{sha256[:16]}.whl")
    given = {"kind": "generator", "requirement": "toy-gym==1.0", "sha256": sha256, "seed": 3}
    given |= {"variations": 30, "examples": 3, "max_side": 6, "tasks": 2}
    source = params.GeneratorSource.model_validate(given | changed)
    return rearc.load("toys", source, cache=cache, workers=workers)


@pytest.fixture(scope="module")
def drawn(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> pins.Loaded:
    return load(packed, tmp_path_factory.mktemp("cache"))


def test_drawn_tasks_obey_their_rule(drawn: pins.Loaded) -> None:
    contents = []
    for task in drawn.tasks:
        assert (task.id, task.source, task.split) == ("aaaa0001", "toys", "training")
        assert (len(task.train), len(task.test)) == (2, 1)
        for pair in task.train + task.test:
            np.testing.assert_array_equal(pair.output, pair.input[:, ::-1])
            assert not np.array_equal(pair.output, pair.input)
            assert pair.input.shape[1] <= 6
            contents.append((pair.input.shape, pair.input.tobytes()))
    assert len(set(contents)) == len(contents)


def test_every_reject_is_counted(drawn: pins.Loaded) -> None:
    # A task that was left out has left a gap in the variations, and the next takes its place.
    repeats = drawn.rejects["a task repeats no pair of an earlier variation"]
    assert [task.variation for task in drawn.tasks][-1] == 30 + repeats - 1
    assert len(drawn.tasks) == 30
    # The second generator knows two pairs, and a task takes three: it is asked twice as often.
    assert drawn.rejects["a task fills up within 25 draws a pair"] == 60
    assert set(drawn.rejects) == {
        "IndexError",
        "a pair is new to its task",
        "a side is at most 6",
        "a task fills up within 25 draws a pair",
        "a task repeats no pair of an earlier variation",
        "an output differs from its input",
        "the verifier agrees with the output",
    }


def test_tasks_do_not_depend_on_the_number_of_workers(
    drawn: pins.Loaded, packed: Path, tmp_path: Path
) -> None:
    again = load(packed, tmp_path, workers=3)

    assert tasks.digest(again.tasks) == tasks.digest(drawn.tasks)
    assert again.rejects == drawn.rejects


def test_more_variations_extend_fewer(drawn: pins.Loaded, packed: Path, tmp_path: Path) -> None:
    fewer = load(packed, tmp_path, variations=7).tasks

    assert len(fewer) == 7
    assert tasks.digest(fewer) == tasks.digest(drawn.tasks[: len(fewer)])


def test_another_seed_draws_other_tasks(drawn: pins.Loaded, packed: Path, tmp_path: Path) -> None:
    other = load(packed, tmp_path, seed=4, variations=1).tasks

    assert tasks.digest(other) != tasks.digest(drawn.tasks[:1])


def test_two_variations_of_two_pairs_leave_one_task(packed: Path, tmp_path: Path) -> None:
    found = load(packed, tmp_path, examples=2, variations=2)

    second = [task for task in found.tasks if task.id == "bbbb0002"]
    assert [task.variation for task in second] == [0]
    assert found.rejects["a task repeats no pair of an earlier variation"] >= 3


def test_a_stopped_run_goes_on_where_it_was(packed: Path, tmp_path: Path) -> None:
    whole = load(packed, tmp_path, variations=3)
    [folder] = tmp_path.glob("re-arc-*")
    drawn_at = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    # A file of tasks without its rejects is one that was being written.
    lost = folder / "00001-0.json"
    lost.unlink()

    again = load(packed, tmp_path, variations=5)

    redrawn = {file for file, time in drawn_at.items() if file.stat().st_mtime_ns != time}
    assert redrawn == {lost, lost.with_suffix(".parquet")}
    first = [task for task in again.tasks if task.variation < 3]
    assert tasks.digest(first) == tasks.digest(whole.tasks)


def test_other_settings_have_a_cache_of_their_own(packed: Path, tmp_path: Path) -> None:
    for examples in (3, 4):
        load(packed, tmp_path, variations=1, examples=examples)

    assert len([*tmp_path.glob("re-arc-*")]) == 2


def test_a_task_has_the_mean_difficulty_of_its_pairs(drawn: pins.Loaded) -> None:
    for task in drawn.tasks:
        assert task.rng == pytest.approx(0.5)
        expected = np.mean([rearc.pso(pair) for pair in task.train + task.test])
        assert task.pso == pytest.approx(expected)


def test_pso_is_the_mean_of_pixels_symbols_and_objects() -> None:
    # Areas by sides: three of 1 (its diagonal does not join), one of 0; then one of 2.
    left = np.array([[1, 0, 1], [1, 0, 0], [0, 1, 0]], np.uint8)
    pair = tasks.Pair(left, np.full((2, 4), 2, np.uint8))

    assert rearc.pso(pair) == pytest.approx((17 / 1800 + 3 / 10 + (5 / 9 + 1 / 8) / 2) / 3)


def test_the_wheel_is_not_installed(drawn: pins.Loaded) -> None:
    assert drawn.tasks
    assert not {"reasoning_gym", "rearc_utils"} & set(sys.modules)


def test_load_refuses_another_number_of_generators(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.whl holds 2 generators, not the 400 of sources\.toys"):
        load(packed, tmp_path, tasks=400)


def test_load_refuses_generators_that_yield_nothing(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"yields no task of toys; rejected: .*'a side is at most"):
        load(packed, tmp_path, max_side=1, variations=1)


@pytest.mark.parametrize(
    ("lacks", "message"),
    [
        pytest.param("", "holds no package reasoning_gym/arc/rearc_utils", id="package"),
        pytest.param("dsl.py", "rearc_utils cannot be imported: No module named", id="module"),
    ],
)
def test_load_refuses_a_wheel_without_its(lacks: str, message: str, tmp_path: Path) -> None:
    gone = f"{gym.FOLDER}/{lacks}"
    rest = {name: text for name, text in gym.MEMBERS.items() if not name.startswith(gone)}

    with pytest.raises(ValueError, match=message):
        load(wheels.pack(tmp_path, rest), tmp_path / "cache")


HANGING = """
import pathlib
import time

def generate_bbbb0002(rng, diff_lb, diff_ub):
    pathlib.Path("started").touch()
    time.sleep(600)
"""

LOAD = """
import pathlib
import sys
from arcmix.config import params
from arcmix.sources import rearc

values = {"kind": "generator", "requirement": "toy-gym==1.0", "sha256": sys.argv[1], "seed": 0}
values |= {"variations": 1, "examples": 2, "max_side": 9, "tasks": 2}
source = params.GeneratorSource.model_validate(values)
rearc.load("toys", source, cache=pathlib.Path.cwd(), workers=2)
"""


def test_no_process_outlives_a_killed_run(tmp_path: Path) -> None:
    # One process hangs in the second generator, the other has no more work and waits for some.
    packed = wheels.pack(tmp_path, gym.MEMBERS | {f"{gym.FOLDER}/generators/second.py": HANGING})
    sha256 = wheels.sha256(packed)
    packed.rename(tmp_path / f"toy-gym-1.0-{sha256[:16]}.whl")
    started = tmp_path / "started"
    command = [sys.executable, "-c", LOAD, sha256]
    environment = os.environ | {"PYTHONPATH": str(Path(rearc.__file__).parents[2])}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE) as run:
        while not started.exists():
            assert run.poll() is None
            time.sleep(0.05)
        run.kill()
        # Each process holds the pipe, so it ends with the last of them.
        run.communicate(timeout=30)

    assert run.returncode == -signal.SIGKILL
