import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from arcmix import fingerprints, program

SOURCE = Path(program.__file__).parents[1]
STAGE = '''
"""Stage `demo`: write a seed and a name."""

import contextlib
import logging
import os
from pathlib import Path
from typing import Annotated

from arcmix import program
from arcmix.config import params
from arcmix.config.schema import At, Section


class Params(Section):
    seed: Annotated[params.NaturalInt, At("seed")]
    pick: Annotated[str, At("entries.${key}")]


def run(*, config: Params, key: str, out_file: Path) -> None:
    if config.seed == 13:
        with contextlib.suppress(KeyError):
            raise ValueError("the seed is 13,\\n  which is refused")
    if config.seed == 14:
        raise KeyError("a bug")
    if config.seed == 15:
        float("a")
    if config.seed == 16:
        raise ValueError("word " * 1000)
    if config.seed > 17:
        secret = os.environ["DEMO"]
        logging.getLogger("arcmix.demo").warning("see %s", secret)
        raise {18: ValueError, 19: RuntimeError}[config.seed](f"found {secret}")
    if config.seed == 17:
        raise KeyboardInterrupt
    out_file.write_text(f"{config.seed} {key} {config.pick}")
    logging.getLogger("arcmix.demo").info("wrote it")
    logging.getLogger("library").info("chatter")


if __name__ == "__main__":
    program.main(run)
'''


@pytest.fixture
def stage(tmp_path: Path):
    def call(*flags: str, seed: object = 3) -> subprocess.CompletedProcess[str]:
        (tmp_path / "demo.py").write_text(STAGE)
        (tmp_path / "params.yaml").write_text(f"seed: {seed}\nentries:\n  a: first\n")
        return subprocess.run(
            [sys.executable, "demo.py", *flags],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(SOURCE)},
            capture_output=True,
            text=True,
            check=False,
        )

    return call


FLAGS = ("--params", "params.yaml", "--out-file", "out")


def test_main_fills_run_from_flags_and_params(stage, tmp_path: Path) -> None:
    done = stage(*FLAGS, "--key", "a")

    assert done.returncode == 0
    assert (tmp_path / "out").read_text() == "3 a first"
    first, last = done.stderr.splitlines()
    assert first == "arcmix.demo: wrote it"
    assert last.startswith("arcmix.demo: took 0.")


def test_main_reports_a_user_error_on_one_line(stage) -> None:
    done = stage(*FLAGS, "--key", "a", seed=13)

    assert done.returncode == 1
    assert done.stderr == "error in demo: the seed is 13, which is refused\n"


@pytest.mark.parametrize(
    ("key", "seed", "message"),
    [
        pytest.param("b", 3, "entries.b is missing: 'b' is not one of ['a']", id="place"),
        pytest.param(
            "a", -1, "seed: Input should be greater than or equal to 0, got -1", id="value"
        ),
    ],
)
def test_main_rejects_params(stage, key: str, seed: int, message: str) -> None:
    done = stage(*FLAGS, "--key", key, seed=seed)

    assert done.returncode == 1
    assert done.stderr == f"error in demo: params.yaml: {message}\n"


def test_main_reports_a_missing_file(stage) -> None:
    done = stage("--params", "nowhere.yaml", "--out-file", "out", "--key", "a")

    assert done.returncode == 1
    assert "No such file or directory: 'nowhere.yaml'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_second_of_two_processes_reports_only_errors(
    stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    done = stage(*FLAGS, "--key", "a")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out").read_text() == "3 a first"

    failed = stage(*FLAGS, "--key", "a", seed=13)
    assert failed.returncode == 1
    assert failed.stderr == "error in demo: the seed is 13, which is refused\n"


@pytest.mark.parametrize(
    ("seed", "line"),
    [
        pytest.param(14, "KeyError: 'a bug'", id="bug"),
        pytest.param(15, "ValueError: could not convert string to float: 'a'", id="library"),
    ],
)
def test_main_logs_the_traceback_of_an_unforeseen_error(
    stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, line: str
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))

    done = stage(*FLAGS, "--key", "a", seed=seed)

    assert done.returncode == 1
    (log,) = (tmp_path / ".cache/logs").glob("demo-*.log")
    assert done.stderr == f"error in demo: {line}; the traceback is in {log}\n"
    assert "Traceback" in log.read_text()
    assert log.read_text().endswith(f"{line}\n")


@pytest.mark.parametrize("secret", ["https://me:S3CRET@host/f", "word S3CRET word"])
def test_main_shows_credentials_nowhere(
    stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", "word S3CRET word")
    monkeypatch.setenv("DEMO", secret)

    refused, unforeseen = (stage(*FLAGS, "--key", "a", seed=seed) for seed in (18, 19))

    assert refused.stderr.startswith("arcmix.demo: see ")
    assert "error in demo: found " in refused.stderr
    (log,) = (tmp_path / ".cache/logs").glob("demo-*.log")
    assert "RuntimeError: found " in log.read_text()
    assert "S3CRET" not in refused.stderr + unforeseen.stderr + log.read_text()


def test_main_shortens_a_long_message(
    stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    done = stage(*FLAGS, "--key", "a", seed=16)

    (log,) = tmp_path.glob("demo-*.log")
    assert done.stderr.endswith(f"word word...; the traceback is in {log}\n")
    assert len(done.stderr) < 2 * program.LONGEST
    assert "word " * 1000 in log.read_text()


def test_main_explains_an_unforeseen_error_without_a_place_for_its_log(
    stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    (tmp_path / ".cache").write_text("in the way of the folder")

    done = stage(*FLAGS, "--key", "a", seed=14)

    assert done.stderr.startswith(
        "error in demo: KeyError: 'a bug'; the traceback could not be written: "
    )
    assert done.stderr.count("\n") == 1


def test_main_says_in_one_line_that_it_was_interrupted(stage) -> None:
    done = stage(*FLAGS, "--key", "a", seed=17)

    assert done.returncode == 130
    assert done.stderr == "arcmix.demo: interrupted; the same command continues\n"


def test_main_runs_the_code_of_the_fingerprint_only(stage, tmp_path: Path) -> None:
    stage()  # writes the program
    program_file, written = tmp_path / "demo.py", tmp_path / "code"
    written.write_text(fingerprints.fingerprint([program_file], SOURCE / "arcmix") + "\n")
    assert stage(*FLAGS, "--key", "a", "--code", "code").returncode == 0

    written.write_text("0123456789ab\n")
    failed = stage(*FLAGS, "--key", "a", "--code", "code")

    assert failed.returncode == 1
    assert failed.stderr.endswith(
        "but code is '0123456789ab': the code was edited after stage code ran;"
        " run the pipeline again: dvc repro\n"
    )


def test_main_refuses_the_root_of_another_repository(
    stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", "/other")

    done = stage(*FLAGS, "--key", "a")

    assert done.returncode == 1
    assert done.stderr == (
        f"error in demo: the environment variable DVC_ROOT is /other, but this repository is"
        f" {tmp_path}; DVC sets the variable only if it is not set, so unset it: unset DVC_ROOT\n"
    )


def test_main_accepts_the_root_of_the_repository_that_queued_the_run(
    stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "root" / ".dvc").mkdir(parents=True)
    (tmp_path / "root" / ".dvc" / "clone").symlink_to(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path.parent))
    (tmp_path.parent / ".dvc").symlink_to(tmp_path.parent)

    assert stage(*FLAGS, "--key", "a").returncode == 0


@pytest.mark.parametrize("missing", ["--params", "--out-file", "--key"])
def test_main_requires_every_flag(stage, missing: str) -> None:
    flags = dict(zip(FLAGS[::2], FLAGS[1::2], strict=True)) | {"--key": "a"}
    del flags[missing]

    done = stage(*(word for flag in flags.items() for word in flag))

    assert done.returncode == 2
    assert f"the following arguments are required: {missing}" in done.stderr


def test_help_shows_the_docstring_of_the_stage(stage) -> None:
    done = stage("--help")

    assert done.returncode == 0
    assert "Stage `demo`: write a seed and a name." in done.stdout
    assert "--out-file" in done.stdout


def test_progress_prints_nothing_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with program.progress(total=2, what="count", unit="thing") as bar:
        bar.update(2)

    assert capfd.readouterr() == ("", "")


def test_an_interrupt_during_the_imports_of_a_stage_is_no_traceback():
    with subprocess.Popen(
        [sys.executable, "-m", "stages.finetune"],
        cwd=SOURCE.parent,
        env=os.environ | {"PYTHONPATH": "src"},
        stderr=subprocess.PIPE,
        text=True,
    ) as stage:
        while not any("libtorch" in one.path for one in psutil.Process(stage.pid).memory_maps()):
            assert stage.poll() is None
            time.sleep(0.01)
        stage.send_signal(signal.SIGINT)
        _, log = stage.communicate(timeout=60)
    assert stage.returncode == -signal.SIGINT
    assert log == ""


@pytest.mark.parametrize(
    ("stage", "key"), [("download@mini-arc", "mini-arc"), ("a@b@c", "b@c"), ("download", "")]
)
def test_the_key_of_a_stage_is_what_follows_the_group(stage: str, key: str) -> None:
    assert program.Key(stage) == key
