"""The targets that run DVC, in a repository with a small pipeline of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PIPELINE = """\
stages:
  table:
    cmd: mkdir -p results && echo "root $DVC_ROOT" > results/ablation.md && echo done > made
    params: [any]
    outs: [made]
"""
TABLE = """\
stages:
  table:
    cmd: mkdir -p results/ledger && echo $(ls results/ledger) > results/ablation.md
    params: [any]
    deps: [results/ledger]
    outs: [results/ablation.md: {cache: false}]
"""
IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@example.org")


@pytest.fixture
def repository(tmp_path):
    """A folder with the Makefile after `make repro` and a commit."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (tmp_path / ".venv" / name).symlink_to(Path(sys.executable).parents[1] / name)
    (tmp_path / ".venv/.up-to-date").touch()
    (tmp_path / ".gitignore").write_text("/.venv\n/made\n")
    (tmp_path / "params.yaml").write_text("any: 1\n")
    (tmp_path / "tools").mkdir()
    for name in ("merged.py", "vega.py"):
        shutil.copy(ROOT / "tools" / name, tmp_path / "tools")
    (tmp_path / "tools/compare.py").touch()  # it needs the rows of a real run
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    git(tmp_path, "init", "--quiet")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], cwd=tmp_path, check=True)
    make(tmp_path, "repro")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message=run")
    return tmp_path


def git(folder, *words):
    subprocess.run(["git", *IDENTITY, *words], cwd=folder, check=True)


def make(folder, *words, status=0, **variables):
    """Run `make` and return what it printed."""
    # Without the variables of a make that runs these tests: they change what this one prints.
    outer = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    inherited = {name: value for name, value in os.environ.items() if name not in outer}
    done = subprocess.run(
        ["make", "--no-print-directory", *words],
        cwd=folder,
        env=inherited | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout
    return done.stdout


@pytest.mark.parametrize("size", [0, -1])
def test_a_dvc_lock_that_a_killed_dvc_left_is_one_line_that_says_what_to_run(repository, size):
    lock = repository / "dvc.lock"
    whole = lock.read_bytes()
    lock.write_bytes(whole[:size])

    for target in ("repro", "noise"):
        output = make(repository, target, status=2)
        [line] = [line for line in output.splitlines() if not line.startswith("make: ***")]
        assert line.startswith("dvc.lock is empty or cut, because DVC was killed while it wrote it")
        assert "git checkout dvc.lock" in line

    git(repository, "checkout", "--quiet", "dvc.lock")
    assert "up to date" in make(repository, "repro")
    assert lock.read_bytes() == whole


def test_a_result_that_only_the_damaged_dvc_lock_knew_comes_from_the_cache(repository):
    (repository / "params.yaml").write_text("any: 2\n")
    make(repository, "repro")
    (repository / "dvc.lock").write_text("")
    git(repository, "checkout", "--quiet", "dvc.lock")
    assert "Stage 'table' is cached - skipping run" in make(repository, "repro")


@pytest.mark.parametrize("text", ["", '{"write": {"/some/pa'])
def test_an_rwlock_that_a_killed_dvc_left_is_one_line_that_says_what_to_run(repository, text):
    (repository / ".dvc/tmp/rwlock").write_text(text)
    (repository / "params.yaml").write_text("any: 2\n")

    output = make(repository, "repro", status=2)

    [line] = [line for line in output.splitlines() if not line.startswith("make: ***")]
    assert line.startswith(".dvc/tmp/rwlock is empty or cut, because DVC was killed while it wrote")
    (repository / ".dvc/tmp/rwlock").unlink()  # as the line says
    make(repository, "repro")


def test_make_sets_an_inherited_dvc_root_aside(repository, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (repository / "params.yaml").write_text("any: 2\n")
    assert f"root {repository}\n" in make(repository, "repro", DVC_ROOT=str(other))


def test_make_setup_restores_the_scripts_of_dvc_plots_show(repository):
    for times in (1, 0):
        assert make(repository, "setup").count("Vega for dvc plots show") == times
        assert "vegaEmbed" in (repository / ".cache/vega.js").read_text()


def branch(repository, name, value):
    """Make a run with a value on a new branch, with a row of its own."""
    git(repository, "checkout", "--quiet", "-b", name, "main")
    (repository / "params.yaml").write_text(f"any: {value}\n")
    row = repository / f"results/ledger/{value}.json"
    row.write_text("{}")
    make(repository, "repro")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", f"--message={name}")


def test_two_branches_with_results_merge_by_one_command(repository):
    git(repository, "branch", "--move", "main")
    shutil.copy(ROOT / ".gitattributes", repository)
    (repository / "README.md").write_text("text\n<!-- table -->\n<!-- end -->\n")
    (repository / "dvc.yaml").write_text(TABLE)
    (repository / "results/ledger").mkdir()
    (repository / "results/ledger/1.json").write_text("{}")
    make(repository, "repro")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message=base")
    branch(repository, "theirs", 3)
    make(repository, "readme")
    git(repository, "commit", "--quiet", "--all", "--message=readme")
    branch(repository, "ours", 2)
    make(repository, "readme")
    git(repository, "commit", "--quiet", "--all", "--message=readme")
    assert "No merge is in progress: run git merge" in make(repository, "merged", status=2)
    merge = subprocess.run(["git", *IDENTITY, "merge", "theirs"], cwd=repository, check=False)
    assert merge.returncode == 1

    output = make(repository, "merged", status=2)
    assert "Resolve these conflicts by hand" in output
    assert "again: params.yaml" in output
    (repository / "params.yaml").write_text("any: 5\n")
    git(repository, "add", "params.yaml")
    output = make(repository, "merged", status=2)
    assert "it describes a run that neither made" in output
    assert "then git add it: any=2; or " in output
    assert not (repository / "results/ledger/5.json").exists()
    git(repository, "checkout", "--quiet", "HEAD", "params.yaml")
    git(repository, "add", "params.yaml")
    make(repository, "merged")

    git(repository, "commit", "--quiet", "--message=merge")
    assert (repository / "results/ablation.md").read_text() == "1.json 2.json 3.json\n"
    assert (
        "<!-- table -->\n1.json 2.json 3.json\n<!-- end -->"
        in (repository / "README.md").read_text()
    )
    assert "<<<" not in (repository / "dvc.lock").read_text()
    assert "up to date" in make(repository, "repro")


def test_make_experiments_shows_what_chose_an_experiment_and_three_numbers(repository):
    chosen = ("dataset", "model", "scale", "seed")
    values = "".join(f"{name}: {name}1\n" for name in (*chosen, "datasets", "any"))
    values += "init: {adapter: none, optimizer: fresh}\n"
    (repository / "params.yaml").write_text(values)
    (repository / "metrics.json").write_text(
        '{"best_val_loss": 0.5, "answering_val_loss": 0.4, "selected_2": 0, "steps": 3}'
    )
    (repository / "dvc.yaml").write_text(f"{PIPELINE}metrics:\n- metrics.json\n")
    make(repository, "repro")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message=values")

    shown = make(repository, "experiments", COLUMNS="40")

    [header] = [line for line in shown.splitlines() if "Experiment" in line]
    assert {*header.replace("|", "").split()} == {
        *("Experiment", "init.adapter", "best_val_loss", "answering_val_loss", "selected_2"),
        *chosen,
    }


def test_make_study_makes_the_page_also_if_a_cell_failed(repository):
    (repository / "dvc.yaml").write_text(
        "stages:\n  code:\n    cmd: 'true'\n  ablation:\n    cmd: touch results/study.html\n"
    )
    (repository / "tools/study.py").write_text("raise SystemExit('1 of 2 cells is missing')\n")
    output = make(repository, "study", STUDY="some", status=2)
    assert "1 of 2 cells is missing" in output
    assert "The page of all studies: results/study.html" in output
    assert (repository / "results/study.html").exists()
    (repository / "tools/study.py").write_text("")
    assert "The page of all studies" in make(repository, "study", STUDY="some")
