import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from arcmix import files, tasks
from arcmix.scoring import submission
from arcmix.tasks import Pair, Task
from tests import targets
from tools import score

ROOT = Path(__file__).parents[2]
ONE = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
TWO = np.array([[7], [8]], np.uint8)
TASKS = [
    Task("b", "s", "e", 0, (Pair(ONE, TWO),), (Pair(TWO, ONE),)),
    Task("00000001", "s", "e", 0, (Pair(TWO, ONE),), (Pair(ONE, ONE), Pair(ONE, TWO))),
]
HEADER = "| submission | per test | per task | all tests | answered | missing | no grid | ignored |"
"""The first line of the table, without its alignment."""


def lines(printed: str) -> list[str]:
    """Return the lines of what was printed, each run of spaces as one."""
    return [" ".join(line.split()) for line in printed.splitlines()]


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """A submission that solves one of the two tests of one task."""
    path = tmp_path / "submission.json"
    files.write_text(path, submission.text({"00000001": [[TWO, ONE], [ONE]], "b": [[]]}))
    return path


def test_a_submission_is_scored_against_a_table_of_tasks(
    tmp_path: Path, answers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks.write(tmp_path / "tasks.parquet", TASKS)
    score.run(answers=[answers], tasks=tmp_path / "tasks.parquet")
    header, _, row, _, legend, *_ = lines(capsys.readouterr().out)
    assert header == HEADER
    assert row == f"| {answers} | 0.3333 | 0.2500 | 0.0000 | 3 | 0 | 0 | 0 |"
    assert legend.startswith("3 tests of 2 tasks. per test: the share of the solved tests")


def test_the_command_scores_several_submissions_against_a_solutions_file(
    tmp_path: Path, answers: Path
) -> None:
    other = {
        "b": [{"attempt_1": [[1.0, 2.0, 3.0], [4, 5, 6]], "attempt_2": [[1, 2], [3]]}],
        "00000001": [None, {"attempt_2": [], "attempt_1": [[7], [8]], "attempt_3": [[0]]}],
    }
    (tmp_path / "other.json").write_text(json.dumps(other))
    solutions = {task.id: [pair.output.tolist() for pair in task.test] for task in TASKS}
    (tmp_path / "solutions.json").write_text(json.dumps(solutions))
    command = [sys.executable, "-m", "tools.score", "--answers", answers]
    done = subprocess.run(
        [*command, tmp_path / "other.json", "--tasks", tmp_path / "solutions.json"],
        cwd=ROOT,
        env={"PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=True,
    )
    header, _, *rows = lines(done.stdout)[:4]
    assert header == HEADER
    assert rows == [
        f"| {answers} | 0.3333 | 0.2500 | 0.0000 | 3 | 0 | 0 | 0 |",
        f"| {tmp_path / 'other.json'} | 0.6667 | 0.7500 | 0.5000 | 2 | 3 | 1 | 1 |",
    ]


def test_a_map_of_tasks_with_outputs_has_the_right_answers(
    tmp_path: Path, answers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {
        task.id: {
            "train": [],
            "test": [
                {"input": pair.input.tolist(), "output": pair.output.tolist()} for pair in task.test
            ],
        }
        for task in TASKS
    }
    (tmp_path / "tasks.json").write_text(json.dumps(values))
    score.run(answers=[answers], tasks=tmp_path / "tasks.json")
    assert "| 0.3333 | 0.2500 | 0.0000 | 3 | 0 | 0 | 0 |" in lines(capsys.readouterr().out)[2]


def test_a_table_of_variations_is_refused(tmp_path: Path, answers: Path) -> None:
    again = Task("b", "s", "e", 1, TASKS[0].train, TASKS[0].test)
    tasks.write(tmp_path / "tasks.parquet", [*TASKS, again])
    with pytest.raises(ValueError, match=r"tasks.parquet: 3 tasks have 2 ids, and a submission"):
        score.run(answers=[answers], tasks=tmp_path / "tasks.parquet")


def test_an_answer_as_wide_as_the_widest_grid_is_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = np.zeros((1, 50), np.uint8)
    one = Task("wide", "1d-arc", "all", 0, (Pair(wide, wide),), (Pair(wide, wide),))
    tasks.write(tmp_path / "tasks.parquet", [one])
    files.write_text(tmp_path / "submission.json", submission.text({"wide": [[wide]]}))
    score.run(answers=[tmp_path / "submission.json"], tasks=tmp_path / "tasks.parquet")
    assert "| 1.0000 | 1.0000 | 1.0000 | 1 | 0 | 0 | 0 |" in lines(capsys.readouterr().out)[2]


def test_a_bad_submission_does_not_keep_the_others_from_the_table(
    tmp_path: Path, answers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks.write(tmp_path / "tasks.parquet", TASKS)
    (tmp_path / "bad.json").write_text("{}")
    paths = [tmp_path / "none.json", answers, tmp_path, tmp_path / "bad.json"]
    message = (
        r"^3 of 4 files: .*none\.json: there is no such file.* \| .*directory.* \| "
        r".*bad\.json: has no task"
    )
    with pytest.raises(ValueError, match=message):
        score.run(answers=paths, tasks=tmp_path / "tasks.parquet")
    printed = lines(capsys.readouterr().out)
    assert printed[2] == f"| {answers} | 0.3333 | 0.2500 | 0.0000 | 3 | 0 | 0 | 0 |"
    assert printed[3] == ""


def test_a_table_without_tasks_is_refused(tmp_path: Path) -> None:
    tasks.write(tmp_path / "tasks.parquet", [])
    files.write_text(tmp_path / "submission.json", "{}")
    with pytest.raises(ValueError, match=r"tasks\.parquet: the table has 0 tasks; take a table"):
        score.run(answers=[tmp_path / "submission.json"], tasks=tmp_path / "tasks.parquet")


@pytest.mark.parametrize(
    "content", [b'{"caf\xe9": []}', b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"]
)
def test_a_file_that_is_not_json_is_named(tmp_path: Path, content: bytes) -> None:
    tasks.write(tmp_path / "tasks.parquet", TASKS)
    (tmp_path / "submission.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"submission\.json: not valid JSON: "):
        score.run(answers=[tmp_path / "submission.json"], tasks=tmp_path / "tasks.parquet")


def test_make_score_asks_for_the_file() -> None:
    done = targets.dry("score")
    assert done.returncode
    assert "name a file: make score SUBMISSION=FILE" in done.stderr


def test_make_score_passes_several_files() -> None:
    assert targets.commands("score", "SUBMISSION=a.json b.json")[-1].endswith(
        " --answers a.json b.json"
    )
