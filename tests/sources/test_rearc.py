import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from arcmix import files, tasks
from arcmix.config import origins
from arcmix.sources import generators, pins, rearc
from tests import gym, wheels


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheels.pack(tmp_path_factory.mktemp("wheel"), gym.MEMBERS)


def settings(**changed: object) -> origins.GeneratorSource:
    given = {"kind": "generator", "seed": 3, "variations": 30, "examples": 3, "max_side": 6}
    given |= {"tasks": 2, "pin": None}
    return origins.GeneratorSource.model_validate(given | changed)


def load(packed: Path, cache: Path, workers: int = 1, **changed: object) -> pins.Loaded:
    """Draw from a wheel that is already in the cache."""
    sha256 = wheels.sha256(packed)
    cache.mkdir(exist_ok=True)
    shutil.copy(packed, cache / f"toy-gym-1.0-{sha256[:16]}.whl")
    pinned = generators.Wheel("toy-gym==1.0", sha256)
    return rearc.load("toys", settings(**changed), cache=cache, workers=workers, pinned=pinned)


@pytest.fixture(scope="module")
def drawn(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> pins.Loaded:
    return load(packed, tmp_path_factory.mktemp("cache"))


def test_drawn_tasks_follow_the_rule_of_their_generator(drawn: pins.Loaded) -> None:
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
    # A rejected task leaves a gap in the variations, which the next variation fills.
    repeats = drawn.rejects["a task repeats a pair of an earlier variation"]
    assert [task.variation for task in drawn.tasks][-1] == 30 + repeats - 1
    assert len(drawn.tasks) == 30
    # The second generator has only two pairs, but a task needs three: all 60 variations fail.
    assert drawn.rejects["a task is incomplete after 25 draws for each pair"] == 60
    assert set(drawn.rejects) == {
        "IndexError",
        "a pair occurs in its task twice",
        "a side is longer than 6",
        "a task is incomplete after 25 draws for each pair",
        "a task repeats a pair of an earlier variation",
        "an output equals its input",
        "the verifier disagrees with the output",
    }


def test_tasks_do_not_depend_on_the_number_of_workers(
    drawn: pins.Loaded, packed: Path, tmp_path: Path
) -> None:
    again = load(packed, tmp_path, workers=3)

    assert tasks.digest(again.tasks) == tasks.digest(drawn.tasks)
    assert again.rejects == drawn.rejects


def test_more_variations_extend_a_smaller_dataset(
    drawn: pins.Loaded, packed: Path, tmp_path: Path
) -> None:
    fewer = load(packed, tmp_path, variations=7).tasks

    assert len(fewer) == 7
    assert tasks.digest(fewer) == tasks.digest(drawn.tasks[: len(fewer)])


def test_another_seed_draws_different_tasks(
    drawn: pins.Loaded, packed: Path, tmp_path: Path
) -> None:
    other = load(packed, tmp_path, seed=4, variations=1).tasks

    assert tasks.digest(other) != tasks.digest(drawn.tasks[:1])


def test_a_variation_that_repeats_the_pairs_of_another_is_rejected(
    packed: Path, tmp_path: Path
) -> None:
    found = load(packed, tmp_path, examples=2, variations=2)

    second = [task for task in found.tasks if task.id == "bbbb0002"]
    assert [task.variation for task in second] == [0]
    assert found.rejects["a task repeats a pair of an earlier variation"] >= 3


def test_an_interrupted_run_resumes(packed: Path, tmp_path: Path) -> None:
    whole = load(packed, tmp_path, variations=3)
    [folder] = tmp_path.glob("re-arc-*")
    drawn_at = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    # Without the file of rejects, the file of tasks counts as incomplete.
    lost = folder / "00001-0.json"
    lost.unlink()

    again = load(packed, tmp_path, variations=5)

    redrawn = {file for file, time in drawn_at.items() if file.stat().st_mtime_ns != time}
    assert redrawn == {lost, lost.with_suffix(".parquet")}
    first = [task for task in again.tasks if task.variation < 3]
    assert tasks.digest(first) == tasks.digest(whole.tasks)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def fill(file: Path) -> None:
    file.write_bytes(b"garbage")


def change(file: Path) -> None:
    if file.suffix == ".json":
        files.write_json(file, files.read_json(file) | {"rejects": {"IndexError": 99}})
    else:
        tasks.write(file, tasks.read(file)[:0])


def replace(file: Path) -> None:
    files.write_json(file, [])


def test_cached_files_that_changed_are_drawn_again(packed: Path, tmp_path: Path) -> None:
    whole = load(packed, tmp_path, variations=8)
    [folder] = tmp_path.glob("re-arc-*")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    kinds = itertools.product((Path.unlink, cut, fill, change), ("parquet", "json"))
    for number, (damage, kind) in enumerate(kinds):
        damage(folder / f"{number:05}-0.{kind}")
    replace(folder / "00000-1.json")
    damaged = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert sum(damaged.get(name) != content for name, content in before.items()) == 9

    again = load(packed, tmp_path, variations=8)

    assert (tasks.digest(again.tasks), again.rejects) == (tasks.digest(whole.tasks), whole.rejects)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_the_pin_verifies_the_first_variations_of_a_larger_number(
    drawn: pins.Loaded, packed: Path, tmp_path: Path
) -> None:
    digest = tasks.digest(drawn.tasks[:7])
    pin = {"seed": 3, "variations": 7, "examples": 3, "max_side": 6, "digest": digest}

    assert len(load(packed, tmp_path, variations=9, pin=pin).tasks) == 9
    with pytest.raises(
        ValueError,
        match=rf"^toys: the drawn tasks differ from sources\.toys\.pin: expected digest {'f' * 64}"
        rf" with variations 7, found {digest} with Python 3\.",
    ):
        load(packed, tmp_path, variations=9, pin=pin | {"digest": "f" * 64})


def test_each_setting_has_its_own_cache(packed: Path, tmp_path: Path) -> None:
    for examples in (3, 4):
        load(packed, tmp_path, variations=1, examples=examples)

    assert len([*tmp_path.glob("re-arc-*")]) == 2


def test_only_edits_of_code_change_the_cache_key(tmp_path: Path) -> None:
    source, module = settings(), tmp_path / "module.py"
    texts = {
        "code": 'def f():\n    """Old."""\n    return 1\n',
        "explained": '"""New."""\ndef f():\n    """New."""\n    return (1)  # new\n',
        "changed": 'def f():\n    """Old."""\n    return 2\n',
    }
    keys = {}
    for name, text in texts.items():
        module.write_text(text)
        keys[name] = rearc.key(source, generators.WHEEL, [module])

    assert keys["explained"] == keys["code"]
    assert keys["changed"] != keys["code"]


def test_a_task_has_the_mean_difficulty_of_its_pairs(drawn: pins.Loaded) -> None:
    for task in drawn.tasks:
        assert task.rng == pytest.approx(0.5)
        expected = np.mean([generators.pso(pair) for pair in task.train + task.test])
        assert task.pso == pytest.approx(expected)


def test_pso_is_the_mean_of_pixels_symbols_and_objects() -> None:
    # Input: three areas of color 1, as diagonals do not connect, and two of 0. Output: one of 2.
    left = np.array([[1, 0, 1], [1, 0, 0], [0, 1, 0]], np.uint8)
    pair = tasks.Pair(left, np.full((2, 4), 2, np.uint8))

    assert generators.pso(pair) == pytest.approx((17 / 1800 + 3 / 10 + (5 / 9 + 1 / 8) / 2) / 3)


def test_the_wheel_is_not_installed(drawn: pins.Loaded) -> None:
    assert drawn.tasks
    assert not {"reasoning_gym", "rearc_utils"} & set(sys.modules)


def test_load_rejects_an_unexpected_number_of_generators(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.whl contains 2 generators, but .*\.toys expects 400"):
        load(packed, tmp_path, tasks=400)


def test_load_fails_if_all_tasks_are_rejected(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"all tasks of toys from .* were rejected: .*'a side is longer"
    ):
        load(packed, tmp_path, max_side=1, variations=1)


@pytest.mark.parametrize(
    ("lacks", "message"),
    [
        pytest.param(
            "", "does not contain the package reasoning_gym/arc/rearc_utils", id="package"
        ),
        pytest.param("dsl.py", "cannot import rearc_utils: No module named", id="module"),
    ],
)
def test_load_rejects_a_wheel_without_its(lacks: str, message: str, tmp_path: Path) -> None:
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
from arcmix.config import origins
from arcmix.sources import generators, rearc

values = {"kind": "generator", "seed": 0, "variations": 1, "examples": 2, "max_side": 9, "tasks": 2}
source = origins.GeneratorSource.model_validate(values | {"pin": None})
pinned = generators.Wheel("toy-gym==1.0", sys.argv[1])
rearc.load("toys", source, cache=pathlib.Path.cwd(), workers=2, pinned=pinned)
"""


def test_no_process_survives_a_killed_run(tmp_path: Path) -> None:
    # One process hangs in the second generator, the other waits for more work.
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
        # Every process keeps the pipe open, so reading ends only after the last one exits.
        run.communicate(timeout=30)

    assert run.returncode == -signal.SIGKILL
