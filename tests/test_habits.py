"""Checks of the repository: make targets, pinned requirements and links."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = {
    canonicalize_name(Requirement(line).name): Requirement(line).specifier
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if not line.startswith("#")
}
REQUIREMENTS = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]


def test_make_help_describes_each_target_that_a_user_calls() -> None:
    done = subprocess.run(["make", "-C", ROOT], capture_output=True, text=True, check=True)
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")

    (targets,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    described = re.findall(r"^make ([\w-]+) +\w", done.stdout, re.MULTILINE)
    assert sorted(described) == sorted({*targets.split()} - {"whole"})


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_requirement_is_pinned(requirement: str) -> None:
    wanted = Requirement(requirement)

    (pin,) = PINS[canonicalize_name(wanted.name)]

    assert pin.operator == "=="
    assert wanted.specifier.contains(pin.version)


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES])
def test_the_targets_of_links_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())

    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_no_file_has_the_marks_of_an_unsolved_merge() -> None:
    found = subprocess.run(
        ["git", "-C", ROOT, "grep", "-nE", "^(<{7}|>{7})( |$)"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (found.returncode, found.stdout) == (1, "")


def test_the_page_on_the_architecture_has_a_row_for_each_package_that_names_its_modules() -> None:
    library = ROOT / "src/arcmix"
    page = (ROOT / "docs/architecture.md").read_text()
    _, _, rest = page.partition("| package | what belongs there | modules |\n")
    table, _, _ = rest.partition("\n\nEach table")

    rows = re.findall(r"^\| `?(\(top\)|[a-z]+)`? \|.*\| (.*) \|$", table, re.MULTILINE)
    packages = sorted(path.parent.name for path in library.glob("*/__init__.py"))
    assert sorted(package for package, _ in rows) == sorted(["(top)", *packages])
    for package, described in rows:
        folder = library if package == "(top)" else library / package
        modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
        named = re.findall(r"`(\w+)`", described)
        assert sorted(modules - {*named}) == [], f"in the row of {package}"
