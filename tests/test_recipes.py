"""The commands of the documents name values and entries that `params.yaml` has."""

import re
import shlex
from pathlib import Path

import pytest

from arcmix.config import check, schema

ROOT = Path(__file__).parents[1]
LINES = [
    line.strip()
    for page in (ROOT / "docs/recipes.md", ROOT / "docs/data.md")
    for line in page.read_text().splitlines()
    if line.startswith("    dvc exp run")
]
NAMES = [found for line in LINES for found in re.findall(r"-n (\S+)", line)]


@pytest.mark.parametrize("line", LINES)
def test_a_recipe_is_an_experiment_that_params_can_hold(tmp_path: Path, line: str) -> None:
    words = shlex.split(line)
    choices = [words[number + 1] for number, word in enumerate(words) if word == "-S"]
    values = schema.read(ROOT / "params.yaml")
    for choice in choices:
        place, _, value = choice.partition("=")
        *steps, last = place.split(".")
        node = values
        for step in steps:
            node = node[step]
        assert last in node
        node[last] = schema.YAML(typ="safe").load(value)
    with (tmp_path / "params.yaml").open("w") as file:
        schema.YAML(typ="safe").dump(values, file)

    if "dataset=NAME" not in choices:
        check.check_file(tmp_path / "params.yaml")


def test_a_second_stage_starts_from_a_recipe_before_it() -> None:
    seen = set()
    for line in LINES:
        for start in re.findall(r"init\.adapter=(\S+)", line):
            assert start in seen
        seen |= {*re.findall(r"-n (\S+)", line)}
    assert len(NAMES) == len({*NAMES}) >= 10
