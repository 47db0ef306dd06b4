"""The values and entries in the commands of the documents exist in `params.yaml`."""

import re
import shlex
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
OWN = (
    "    sources:\n      my-tasks: {kind: folder, path: my/tasks}\n"
    "    datasets:\n      my-tasks: {my-tasks: {}}\n"
)
"""The lines of the documents for tasks of one's own."""
NAMES = [found for line in LINES for found in re.findall(r"-n (\S+)", line)]


@pytest.mark.parametrize("line", LINES)
def test_a_recipe_is_a_valid_experiment(tmp_path: Path, line: str) -> None:
    words = shlex.split(line, comments=True)
    choices = [words[number + 1] for number, word in enumerate(words) if word == "-S"]
    path = tmp_path / "params.yaml"
    text = (ROOT / "params.yaml").read_text()
    if "my-tasks" in line:
        for section, entry in re.findall(r"    (\w+:\n)    (  .*\n)", OWN):
            text = text.replace(f"\n{section}", f"\n{section}{entry}")
    path.write_text(text)

    # A sweep queues one experiment for each combination of values.
    for overrides in overrides_of(choices):
        apply_overrides(path, overrides)
        if not {"dataset=NAME", "dataset=my-mix", "dataset=my-tasks"} & {*overrides}:
            check.check_file(path)


def test_both_pages_show_the_lines_for_tasks_of_ones_own() -> None:
    assert all(OWN in (ROOT / page).read_text() for page in ("README.md", "docs/data.md"))


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
