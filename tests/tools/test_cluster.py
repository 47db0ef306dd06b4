import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from arcmix.ledger import records, store
from tests.studying import Repository
from tools import cluster

ROOT = Path(__file__).parents[2]
VALUES = {
    "name": "some",
    "remote": "origin",
    "gpus": "1",
    "gpu": "H100",
    "cpus": "4",
    "memory": "32",
    "hours": "12",
    "partition": "",
}
SLURM_CONF = """\
ClusterName=test
SlurmctldHost=localhost
SlurmctldPort=1
AuthType=auth/none
SelectType=select/cons_tres
GresTypes=gpu
MessageTimeout=1
NodeName=node
PartitionName=long Nodes=node
"""
SKY = """\
import sys, sky
task = sky.Task.from_yaml(sys.argv[1])
(resources,) = task.resources
print(task.name, resources.accelerators, resources.cpus, resources.memory, task.envs)
"""


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository with a remote of Git and one of DVC, which both have its commit."""
    found = Repository(tmp_path / "repository")
    found.run("git", "init", "--quiet", "--bare", str(tmp_path / "origin"))
    found.run("git", "remote", "add", "origin", str(tmp_path / "origin"))
    found.run("dvc", "remote", "add", "--quiet", "--default", "store", str(tmp_path / "store"))
    found.run("git", "commit", "--quiet", "--all", "--message=remote")
    found.run("git", "push", "--quiet", "origin", "main")
    return found


def write(repository: Repository, on: str, **changes: str) -> Path:
    """Write a script and return its path."""
    folder = repository.folder
    cluster.run(
        params=folder / "params.yaml",
        repository=folder,
        library=ROOT / "src/arcmix",
        programs=ROOT / "stages",
        rows=folder / "results/ledger",
        out=folder,
        on=on,
        **VALUES | changes,
    )
    (path,) = folder.glob("study-*")
    return path


def test_the_script_for_slurm_is_one_that_bash_reads(repository: Repository) -> None:
    path = write(repository, "slurm", partition="long")
    subprocess.run(["bash", "-n", path], check=True)
    text = path.read_text()
    options = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert options == [
        "#SBATCH --job-name=arcmix-some",
        "#SBATCH --array=0-3",
        "#SBATCH --nodes=1",
        "#SBATCH --ntasks=1",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --mem=32G",
        "#SBATCH --time=12:00:00",
        "#SBATCH --gpus=1",
        "#SBATCH --partition=long",
    ]
    assert "\n1) name=train-0-" in text
    assert " values=(-S dataset=train -S model=tiny -S scale=tiny -S seed=0) ;;\n" in text
    assert "@" not in text.replace("study@localhost", "").replace('"${values[@]}"', "")


def test_without_a_gpu_the_scripts_ask_for_none(repository: Repository) -> None:
    assert "--gpus" not in write(repository, "slurm", gpus="0").read_text()


def test_the_task_for_skypilot_has_the_program_of_a_cell(repository: Repository) -> None:
    task = YAML(typ="safe").load(write(repository, "sky"))
    assert task["resources"] == {"accelerators": "H100:1", "cpus": "4+", "memory": "32+"}
    assert task["envs"] == {"CELL": "0"}
    subprocess.run(["bash", "-n", "-c", task["run"]], check=True)


def test_sbatch_reads_the_options(repository: Repository, tmp_path: Path) -> None:
    if shutil.which("sbatch") is None:
        pytest.skip("needs sbatch: apt-get install slurm-client")
    conf = tmp_path / "slurm.conf"
    conf.write_text(SLURM_CONF + os.environ.get("ARCMIX_SLURM_CONF", ""))
    path = write(repository, "slurm", partition="long")

    def read(text: str) -> str:
        path.write_text(text)
        # Without a controller it fails, after it has read all options.
        done = subprocess.run(
            ["sbatch", "--test-only", path],
            env=os.environ | {"SLURM_CONF": str(conf)},
            check=False,
            capture_output=True,
            text=True,
        )
        return done.stderr

    text = path.read_text()
    assert read(text).startswith("allocation failure: Unable to contact slurm controller")
    assert "unrecognized option '--gpux=1'" in read(text.replace("--gpus", "--gpux"))
    assert "Invalid --time specification" in read(text.replace("12:00:00", "long"))


def test_skypilot_reads_the_task(repository: Repository) -> None:
    python = os.environ.get("ARCMIX_SKYPILOT")
    if python is None:
        pytest.skip("needs ARCMIX_SKYPILOT, a Python with the package skypilot")
    done = subprocess.run(
        [python, "-c", SKY, write(repository, "sky")], check=True, capture_output=True, text=True
    )
    assert done.stdout.split("\n")[-2] == "arcmix-some {'H100': 1} 4+ 32+ {'CELL': '0'}"


@pytest.mark.slow
def test_a_cell_comes_back_as_a_branch_and_does_not_run_twice(
    repository: Repository, tmp_path: Path
) -> None:
    path = write(repository, "slurm")
    (tmp_path / "scratch").mkdir()
    scratch = str(tmp_path / "scratch")
    values = [f"ARCMIX_VENV={sys.prefix}", f"ARCMIX_SCRATCH={scratch}", "SLURM_ARRAY_TASK_ID=1"]

    repository.run("env", *values, "bash", str(path))
    again = repository.run("env", *values, "bash", str(path))

    assert [*(tmp_path / "scratch").iterdir()] == []
    assert again.endswith("is there already\n")
    repository.run(
        "git", "fetch", "--quiet", "origin", "refs/heads/study/some/*:refs/heads/study/some/*"
    )
    (branch,) = repository.run("git", "branch", "--list", "study/some/*").split()
    assert branch.startswith("study/some/train-0-")
    assert repository.rows() == []
    repository.run("git", "checkout", "--quiet", branch, "--", "results/ledger")
    assert repository.rows() == [("train", 0)]
    # With the branch, DVC's garbage collection keeps the adapter.
    (row,) = records.read(repository.folder / "results/ledger")
    repository.run("dvc", "gc", "--quiet", "--all-branches", "--cloud", "--force")
    assert store.places(repository.folder, [row.adapter]) == {row.adapter: store.REMOTE}
    # Then the script has the other cells.
    path.unlink()
    repository.run("git", "commit", "--quiet", "--all", "--message=rows")
    repository.run("git", "push", "--quiet", "origin", "main")
    assert "#SBATCH --array=0-2\n" in write(repository, "slurm").read_text()


def test_other_code_than_that_of_the_commit_is_refused(repository: Repository) -> None:
    file = repository.folder / "params.yaml"
    file.write_text(file.read_text().replace("selection: product", "selection: best"))
    with pytest.raises(ValueError, match=r"differs from it: M params.yaml; commit and push, then"):
        write(repository, "slurm")
    repository.run("git", "commit", "--quiet", "--all", "--message=other")
    with pytest.raises(ValueError, match="has not the present commit; run: git push origin"):
        write(repository, "slurm")


def test_credentials_in_the_url_are_refused(repository: Repository) -> None:
    repository.run("git", "remote", "set-url", "origin", "https://me:secret@example.org/a.git")
    with pytest.raises(ValueError, match="Git remote origin has credentials") as caught:
        write(repository, "slurm")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"on": "slrum"}, r"ON: 'slrum' is not one of .*did you mean 'slurm'\?"),
        ({"on": "sky", "hours": "1:30"}, "HOURS=1:30 is no number"),
        ({"on": "sky", "gpu": "H100 x"}, "GPU=H100 x is no name"),
        ({"on": "slurm", "partition": "a b"}, "PARTITION=a b is no name"),
    ],
)
def test_a_value_that_a_script_cannot_have_is_refused(
    repository: Repository, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write(repository, **changes)


def test_without_a_remote_of_dvc_the_adapters_would_be_lost(repository: Repository) -> None:
    repository.run("dvc", "remote", "remove", "store")
    repository.run("git", "commit", "--quiet", "--all", "--message=none")
    repository.run("git", "push", "--quiet", "origin", "main")
    with pytest.raises(ValueError, match="no remote"):
        write(repository, "slurm")
