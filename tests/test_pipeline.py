"""`dvc.yaml` tells the truth about the code, and `params.yaml` about the values."""

import ast
import importlib
import inspect
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

from arcmix.config import check, params, scales, schema
from arcmix.ledger import code

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "src" / "arcmix"
PARAMS = ROOT / "params.yaml"
FILE = check.check_file(PARAMS)
STAGES: dict[str, dict[str, Any]] = {
    name: stage.get("do", stage)
    for name, stage in YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"].items()
}
READ_CODE = {"record", "ablation"}
"""Stages that fingerprint the code, so all of it is their input."""
SECONDS = {"partition", "record", "ablation"}
"""Stages so quick that they may do without DVC's run cache."""

LARGE = {"results/report.html", "results/report.png"}
"""Results that DVC keeps, not git."""

TEMPLATES = {"src/arcmix/pages/templates.py"}
"""The module that reads the folder of its name."""

LAUNCH = "${launch}"
"""The value that a command holds, and no program reads."""

FOLDERS = "data|results|src|stages"
"""Folders of which `dvc.yaml` alone names files."""

each_stage = pytest.mark.parametrize("stage", STAGES)


def keywords(stage: str) -> dict[str, Any]:
    """Return the annotations of the keywords of a stage's `run`."""
    run = importlib.import_module(f"stages.{stage}").run
    return {name: keyword.annotation for name, keyword in inspect.signature(run).parameters.items()}


def section(stage: str) -> type[schema.Section] | None:
    """Return the parameters of a stage, if it has any."""
    return getattr(importlib.import_module(f"stages.{stage}"), "Params", None)


def flags(stage: str) -> dict[str, str]:
    """Return the flags of a stage's command."""
    program = LAUNCH if stage in ("finetune", "adapt", "predict") else "python"
    _, given = STAGES[stage]["cmd"].split(f"PYTHONPATH=src {program} -m stages.{stage} ")
    words = shlex.split(given)
    return {
        flag.removeprefix("--"): value for flag, value in zip(words[::2], words[1::2], strict=True)
    }


def outputs(stage: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the path of each output, the list that it stands in, and its settings."""
    found = {}
    for kind in ("outs", "metrics", "plots"):
        for entry in STAGES[stage].get(kind, []):
            ((path, settings),) = entry.items() if isinstance(entry, dict) else [(entry, {})]
            found[path] = (kind, settings)
    return found


def code_deps(stage: str) -> set[str]:
    """Return the code that a stage declares."""
    return {dep for dep in STAGES[stage]["deps"] if dep.startswith(("src/", "stages"))}


def test_every_program_is_a_stage_and_every_stage_a_program() -> None:
    assert {path.stem for path in (ROOT / "stages").glob("*.py")} == {"__init__", *STAGES}


@each_stage
def test_code_deps_are_the_import_closure(stage: str) -> None:
    if stage in READ_CODE:
        expected = {"src/arcmix", "stages"}
    else:
        found = code.closure(ROOT / "stages" / f"{stage}.py", LIBRARY)
        expected = {str(path.relative_to(ROOT)) for path in found}
        if TEMPLATES & expected:
            # They are no modules, so no import names them.
            expected |= {path.removesuffix(".py") for path in TEMPLATES}

    declared = code_deps(stage)
    assert (expected - declared, declared - expected) == (set(), set())


@each_stage
def test_params_are_those_that_the_stage_loads(stage: str) -> None:
    loaded = section(stage)
    expected = {*schema.places(loaded).values()} if loaded else set()

    declared = {*STAGES[stage].get("params", [])}

    assert (expected - declared, declared - expected) == (set(), set())
    assert ("params" in flags(stage)) == bool(loaded)


@each_stage
def test_command_names_every_keyword_of_run(stage: str) -> None:
    values = {
        name.replace("_", "-")
        for name, kind in keywords(stage).items()
        if not issubclass(kind, schema.Section)
    }

    assert {*flags(stage)} - {"params"} == values


@each_stage
def test_paths_of_the_command_are_deps_and_outputs(stage: str) -> None:
    paths = {
        flags(stage)[name.replace("_", "-")]
        for name, kind in keywords(stage).items()
        if kind is Path
    }
    # Not of this run: the file of all values, and what the repository itself keeps.
    paths = {path for path in paths if path != "params.yaml" and not path.startswith("$DVC_ROOT")}

    code_files = set() if stage in READ_CODE else code_deps(stage)
    deps = {*STAGES[stage]["deps"]} - code_files - {*outputs("check")}
    declared = deps | {*outputs(stage)}
    assert (paths - declared, declared - paths) == (set(), set())


@each_stage
def test_stage_reads_what_an_earlier_one_writes(stage: str) -> None:
    earlier = [*STAGES][: [*STAGES].index(stage)]
    written = {masked(path) for name in earlier for path in outputs(name)}
    written |= {str(Path(path).parent) for path in written}

    read = {masked(dep) for dep in STAGES[stage]["deps"]} - code_deps(stage)

    assert read <= written
    assert read or stage == "check"


@each_stage
def test_cached_output_is_read_by_a_later_stage(stage: str) -> None:
    later = [*STAGES][[*STAGES].index(stage) + 1 :]
    read = {masked(dep) for name in later for dep in STAGES[name]["deps"]}

    written = {masked(path) for path in outputs(stage) if path.startswith("data/")}

    assert {path for path in written if not {path, str(Path(path).parent)} & read} == set()


def test_folders_are_those_of_the_pipeline() -> None:
    paths = {path for stage in STAGES for path in (*STAGES[stage]["deps"], *outputs(stage))}

    assert {path.partition("/")[0] for path in paths} == {*FOLDERS.split("|")}


def masked(path: str) -> str:
    """Return a path with `*` for each value that DVC fills in."""
    return re.sub(r"\$\{.*?\}", "*", path)


@each_stage
def test_results_are_in_git_and_data_is_not(stage: str) -> None:
    for path, (kind, settings) in outputs(stage).items():
        assert path.startswith(("results/", "data/"))
        tracked = path.startswith("results/") and path not in LARGE
        assert settings.get("cache", True) is not tracked
        if stage not in SECONDS:
            # Any other output that DVC does not cache makes it forget earlier runs.
            assert not (tracked and kind == "outs")
            assert "persist" not in settings


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(path, id=str(path.relative_to(ROOT)))
        for path in sorted([*LIBRARY.rglob("*.py"), *(ROOT / "stages").glob("*.py")])
    ],
)
def test_code_holds_no_path_of_the_repository(program: Path) -> None:
    found = [text for text in strings(program) if re.search(rf"(?<![\w/])({FOLDERS})/", text)]

    assert found == []


def strings(program: Path) -> Iterator[str]:
    """Yield the texts of a program that are not docstrings."""
    tree = ast.parse(program.read_text())
    described = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in described:
                yield text


def test_every_value_of_params_is_read_by_a_stage() -> None:
    read = {
        place
        for stage in STAGES
        if (loaded := section(stage)) and stage != "record"
        for place in schema.places(loaded).values()
    }

    fields = {*params.File.model_fields} - {"scales", LAUNCH.strip("${}")}
    assert {place.partition(".")[0] for place in read} == fields | {"scales"}
    parts = {f"scales.${{scale}}.{name}" for name in scales.Scale.model_fields}
    assert parts <= read


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        (choice, name)
        for choice, entries in schema.CHOICES.items()
        for name in getattr(FILE, entries)
    ],
)
def test_stages_take_every_entry(choice: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    text, count = re.subn(f"(?m)^{choice}: .*$", f"{choice}: {name}", PARAMS.read_text())
    assert count == 1
    path.write_text(text)

    for stage in STAGES:
        loaded = section(stage)
        if loaded and f"${{{choice}}}" in str(schema.places(loaded)):
            schema.load(path, loaded, key="re-arc")


@pytest.mark.parametrize("source", FILE.sources)
def test_download_takes_every_source(source: str) -> None:
    loaded = section("download")

    assert loaded
    schema.load(PARAMS, loaded, key=source)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("seed=1", "seed: 1"),
        ("dataset=1d-arc", "dataset: 1d-arc"),
        ("model=qwen2-0.5b-instruct", "model: qwen2-0.5b-instruct"),
        ("scales.quick.finetune.learning_rate=3e-4", "      learning_rate: 0.0003"),
        ("augment.new_tasks.probability=0.5", "    probability: 0.5"),
        ("mirror=/mnt/mirror", "mirror: /mnt/mirror"),
        (
            "launch=accelerate launch -x launch/ddp.yaml",
            "launch: accelerate launch -x launch/ddp.yaml",
        ),
        ("init.adapter=re-arc/0-85f495127d81", "  adapter: re-arc/0-85f495127d81"),
    ],
)
def test_override_by_dvc_edits_one_line(tmp_path: Path, override: str, line: str) -> None:
    path = tmp_path / "params.yaml"
    shutil.copy(PARAMS, path)

    apply_overrides(path, [override])

    before, after = PARAMS.read_text().splitlines(), path.read_text().splitlines()
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [line]
