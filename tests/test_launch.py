import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.commands.launch import launch_command_parser

from arcmix import launch
from arcmix.config import command

ROOT = Path(__file__).parents[1]
DDP = "accelerate launch --config_file launch/ddp.yaml --num_processes 2"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with params.yaml and the configurations, which is the current one."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "launch", tmp_path / "launch")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def choose(folder: Path, value: str) -> None:
    path = folder / "params.yaml"
    path.write_text(path.read_text().replace("launch: python", f"launch: {value}"))


def test_python_starts_the_module_with_the_same_arguments() -> None:
    arguments = ["--params", "params.yaml", "--code", "a b; c"]

    assert launch.interpreted("stages.adapt", arguments) == ["-m", "stages.adapt", *arguments]


def test_accelerate_starts_the_module_with_the_same_arguments(folder: Path) -> None:
    choose(folder, DDP)
    arguments = ["--params", "params.yaml", "--num_processes", "x y"]

    found = launch.interpreted("stages.adapt", arguments)

    assert found[:2] == ["-m", "accelerate.commands.launch"]
    read = launch_command_parser().parse_args(found[2:])
    assert (read.training_script, read.training_script_args) == ("stages.adapt", arguments)
    assert read.module
    assert not read.no_python
    assert (read.config_file, read.num_processes, read.mixed_precision) == (
        "launch/ddp.yaml",
        2,
        "no",
    )


def test_every_option_of_the_grammar_is_one_of_accelerate() -> None:
    known = {action.dest for action in launch_command_parser()._actions}  # noqa: SLF001

    assert {*command.OPTIONS} <= known


def test_each_configuration_of_the_repository_is_allowed(folder: Path) -> None:
    for file in (folder / "launch").iterdir():
        shutil.copy(ROOT / "params.yaml", folder)
        choose(folder, f"accelerate launch --config_file launch/{file.name}")
        assert str(Path("launch", file.name)) in launch.interpreted(
            "x", ["--params", "params.yaml"]
        )


def test_a_configuration_that_could_start_another_program_is_refused(folder: Path) -> None:
    choose(folder, DDP)
    with (folder / "launch/ddp.yaml").open("a") as file:
        file.write("mpirun_config: {training_script: evil.py}\n")

    with pytest.raises(ValueError, match=r"--config_file: mpirun_config is a text or a number"):
        launch.interpreted("stages.adapt", ["--params", "params.yaml"])


SHOW = """\
import os, signal, sys
print(os.getpid(), sys.argv[1:], flush=True)
if rank := os.environ.get("RANK"):
    sys.exit(open(rank, "w").write(os.environ["WORLD_SIZE"]) - 1)
if "wait" in sys.argv:
    signal.pause()
sys.exit(7)
"""


def started(folder: Path, *words: str) -> subprocess.Popen[str]:
    (folder / "shown.py").write_text(SHOW)
    return subprocess.Popen(
        [sys.executable, "-m", "arcmix.launch", "shown", "--params", "params.yaml", *words],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_module_is_the_process_of_the_launcher(folder: Path) -> None:
    done = started(folder, "$(touch pwned)", "; touch pwned")
    output, _ = done.communicate(timeout=60)

    shown = ["--params", "params.yaml", "$(touch pwned)", "; touch pwned"]
    assert output == f"{done.pid} {shown}\n"
    assert done.returncode == 7
    assert not (folder / "pwned").exists()


def test_accelerate_starts_as_many_processes_as_it_is_told(folder: Path) -> None:
    choose(folder, DDP)

    output, errors = (done := started(folder, "a b")).communicate(timeout=300)

    assert done.returncode == 0, errors
    assert [(folder / rank).read_text() for rank in ("0", "1")] == ["2", "2"]
    assert output.count("['--params', 'params.yaml', 'a b']") == 2


def test_a_signal_reaches_the_module(folder: Path) -> None:
    with started(folder, "wait") as running:
        assert running.stdout is not None
        running.stdout.readline()
        running.terminate()

    assert running.returncode == -signal.SIGTERM


def test_a_command_that_is_not_allowed_is_one_line_and_starts_nothing(folder: Path) -> None:
    choose(folder, 'python -c \'open("pwned", "w")\'')
    refused = started(folder)
    output, errors = refused.communicate(timeout=60)

    assert (output, refused.returncode) == ("", 1)
    assert errors.startswith("error in launch: params.yaml: launch: launch is python, or ")
    assert errors.count("\n") == 1
    assert not (folder / "pwned").exists()
