"""A small repository of git and DVC with a ledger, for tests of its readers."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arcmix.config import schema
from arcmix.ledger import records, store
from tests.rows import row, sealed

PARAMS = Path(__file__).parents[1] / "params.yaml"
PIPELINE = """\
stages:
  finetune:
    cmd: mkdir -p data && cp -r made data/adapter
    deps: [made]
    outs: [data/adapter]
"""
WHO = {
    f"GIT_{role}_{field}": "test" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")
}

FILES = (
    "best/weights",
    "last/weights",
    "last/deeper/config",
    "last/optimizer.safetensors",
    "prompt.json",
)
"""The files of an adapter."""


def settings() -> dict[str, Any]:
    """Return the settings of a ledger row, from `params.yaml` with the model and the scale tiny."""
    values = schema.resolve(schema.read(PARAMS))
    return {
        "model": values["models"]["tiny"],
        "scale": values["scales"]["tiny"],
        "partition": values["partition"],
        "measure": values["measure"],
        "audit": values["audit"],
        "init_seed": values["init_seed"],
    }


def commit(folder: Path, name: str, text: str, time: int = 1) -> str:
    """Commit a file in a git repository, which is made if there is none; return the hash.

    Args:
        folder: The repository.
        name: Name of the file.
        text: Its new content.
        time: Time of the commit, in seconds.
    """
    dates = {f"GIT_{role}_DATE": f"@{time} +0000" for role in ("AUTHOR", "COMMITTER")}

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words],
            cwd=folder,
            env=os.environ | WHO | dates,
            check=True,
            text=True,
            capture_output=True,
        )
        return done.stdout.strip()

    git("init", "--quiet")
    (folder / name).write_text(text)
    git("add", name)
    git("commit", "--quiet", f"--message={name}")
    return git("rev-parse", "HEAD")


class Repository:
    """A repository whose pipeline copies an adapter from one folder to another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.run("git", "init", "--quiet")
        self.run("dvc", "init", "--quiet")
        (folder / "dvc.yaml").write_text(PIPELINE)
        (folder / ".gitignore").write_text("/data/*\n")

    def run(self, *command: str) -> str:
        """Run a command in the repository and return what it printed."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | WHO | {"PATH": path},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def train(
        self, text: str, dataset: str = "re-arc", without: Sequence[str] = (), **changes: Any
    ) -> str:
        """Write an adapter with some text, add its row to the ledger, and return the row's name."""
        made = self.folder / "made"
        shutil.rmtree(made, ignore_errors=True)
        for name in {*FILES} - {*without}:
            file = made / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{name}: {text}")
        self.run("dvc", "repro", "--quiet")
        known = {"settings": settings(), "adapter": store.address(self.folder / "data/adapter")}
        entry = sealed(row(dataset, model="tiny", scale="tiny"), **known | changes)
        path = records.write(self.folder / "results/ledger", entry)
        return f"{path.parent.name}/{path.stem}"

    def commit(self, tag: str) -> None:
        """Commit all files and tag the commit."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message=run")
        self.run("git", "tag", tag)

    def save(self, name: str) -> None:
        """Save all files as an experiment."""
        self.run("dvc", "exp", "save", "--quiet", "--include-untracked", "results", "--name", name)

    def forget(self, address: str = "") -> None:
        """Remove one object or all objects from the cache, and the copy in the workspace."""
        place = self.folder / ".dvc/cache/files/md5" / address[:2] / address[2:]
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        if place.is_file():
            place.unlink()
        else:
            shutil.rmtree(place)
