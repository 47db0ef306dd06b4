"""The values and entries in the commands of the documents exist in `params.yaml`."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides, get_hydra_sweeps

from arcmix.config import check

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/recipes.md", "docs/data.md")
LINES = [
    line.strip()
    for page in PAGES
    for line in (ROOT / page).read_text().replace("\\\n", " ").splitlines()
    if line.startswith("    dvc exp run") and "..." not in line
]
NAMES = [found for line in LINES for found in re.findall(r"-n (\S+)", line)]


@pytest.mark.parametrize("line", LINES)
def test_a_recipe_is_a_valid_experiment(tmp_path: Path, line: str) -> None:
    words = shlex.split(line, comments=True)
    choices = [words[number + 1] for number, word in enumerate(words) if word == "-S"]
    path = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", path)

    # A sweep queues one experiment for each combination of values.
    for overrides in overrides_of(choices):
        apply_overrides(path, overrides)
        if not {"dataset=NAME", "dataset=my-mix", "dataset=my-tasks"} & {*overrides}:
            check.check_file(path)


def overrides_of(choices: list[str]) -> list[list[str]]:
    """Return the overrides of each experiment that `dvc exp run` queues for a sweep."""
    return [one["params.yaml"] for one in get_hydra_sweeps({"params.yaml": choices})]


def test_the_first_stage_of_each_second_stage_is_an_earlier_recipe() -> None:
    seen = set()
    for line in LINES:
        for start in re.findall(r"init\.adapter=(\S+)", line):
            assert start in seen or start.startswith(("./", "'HEAD~1'"))
        seen |= {*re.findall(r"-n (\S+)", line)}
    assert len(NAMES) == len({*NAMES}) >= 10
