"""`dvc.yaml` and `params.yaml` agree with the code."""

import ast
import importlib
import inspect
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from dvc.utils.hydra import apply_overrides
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML

from arcmix import launch
from arcmix.config import check, params, scales, schema

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "src" / "arcmix"
PARAMS = ROOT / "params.yaml"
FILE = check.check_file(PARAMS)
STAGES: dict[str, dict[str, Any]] = {
    name: stage.get("do", stage)
    for name, stage in YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"].items()
}
CODE = "data/code"
"""The folder of the fingerprints of the stages' code."""

PASSED = {"data/checked", "data/preflight"}
"""Files that say that a check was passed; a stage depends on them and does not read them."""

LOCAL = "data/local/"
"""Start of the paths of the digests of local files, which only DVC compares."""

SECONDS = {"partition", "record", "ablation"}
"""Fast stages, which need no run cache of DVC."""

LARGE = {"results/report.html", "results/report.png"}
"""Results that are in DVC's cache, not in git."""

LAUNCHED = {"finetune", "adapt", "predict"}
"""Stages that the launcher starts, maybe in several processes."""

FOLDERS = "data|results|src|stages"
"""Folders whose files only `dvc.yaml` may name."""

each_stage = pytest.mark.parametrize("stage", STAGES)


def keywords(stage: str) -> dict[str, Any]:
    """Return the annotations of the keyword arguments of a stage's `run`."""
    run = importlib.import_module(f"stages.{stage}").run
    return {name: keyword.annotation for name, keyword in inspect.signature(run).parameters.items()}


def section(stage: str) -> type[schema.Section] | None:
    """Return the parameters of a stage, if it has any."""
    return getattr(importlib.import_module(f"stages.{stage}"), "Params", None)


def flags(stage: str) -> dict[str, str]:
    """Return the flags of a stage's command."""
    program = "arcmix.launch stages" if stage in LAUNCHED else "stages"
    _, given = STAGES[stage]["cmd"].split(f"PYTHONPATH=src python -m {program}.{stage} ")
    words = shlex.split(given)
    return {
        flag.removeprefix("--"): value for flag, value in zip(words[::2], words[1::2], strict=True)
    }


def outputs(stage: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the path of each output, the list that contains it, and its settings."""
    found = {}
    for kind in ("outs", "metrics", "plots"):
        for entry in STAGES[stage].get(kind, []):
            ((path, settings),) = entry.items() if isinstance(entry, dict) else [(entry, {})]
            found[path] = (kind, settings)
    return found


def code_deps(stage: str) -> set[str]:
    """Return the code that a stage depends on."""
    return {dep for dep in STAGES[stage]["deps"] if dep.startswith((f"{CODE}/", "src/", "stages"))}


def test_programs_and_stages_correspond() -> None:
    assert {path.stem for path in (ROOT / "stages").glob("*.py")} == {"__init__", *STAGES}


@each_stage
def test_a_stage_depends_on_its_code(stage: str) -> None:
    own = {f"{CODE}/{stage}"}
    expected = {
        "code": {"src/arcmix", "stages"},
        "record": own | {f"{CODE}/all"},
        "ablation": own | {f"{CODE}/all"},
    }

    assert code_deps(stage) == expected.get(stage, own)


@each_stage
def test_params_are_those_that_the_stage_loads(stage: str) -> None:
    loaded = section(stage)
    expected = schema.declared(loaded) if loaded else set()
    if stage in LAUNCHED:
        expected |= schema.declared(launch.Params)

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

    assert {*flags(stage)} - {"params", "code"} == values - {"code"}


@each_stage
def test_command_has_the_fingerprint_of_its_code_verified(stage: str) -> None:
    assert flags(stage).get("code") == (None if stage == "code" else f"{CODE}/{stage}")


@each_stage
def test_paths_of_the_command_are_deps_and_outputs(stage: str) -> None:
    paths = {
        flags(stage)[name.replace("_", "-")]
        for name, kind in keywords(stage).items()
        if kind is Path
    }
    # The exception are the paths that are shared by all runs.
    paths = {path for path in paths if not path.startswith("$DVC_ROOT")}

    # `program.main` reads the fingerprint of the stage's code.
    deps = {*STAGES[stage]["deps"]} - {f"{CODE}/{stage}"} - PASSED
    # A digest is there for DVC; only some programs also read it.
    deps = {dep for dep in deps if not dep.startswith(LOCAL) or dep in paths}
    paths -= {f"{CODE}/{stage}"}
    # A program makes the name of a source's table itself, in the folder that the command names.
    declared = {
        str(Path(path).parent) if "${" in path else path for path in deps | {*outputs(stage)}
    }
    assert (paths - declared, declared - paths) == (set(), set())


@each_stage
def test_each_input_of_a_stage_is_written_by_an_earlier_stage(stage: str) -> None:
    earlier = [*STAGES][: [*STAGES].index(stage)]
    written = {masked(path) for name in earlier for path in outputs(name)}
    written |= {str(Path(path).parent) for path in written}

    read = {masked(dep) for dep in {*STAGES[stage]["deps"]} - code_deps(stage)}
    digests = {dep for dep in read if dep.startswith(LOCAL)}

    assert read - digests <= written | {"params.yaml"}
    assert not digests or {LOCAL.rstrip("/")} == {*outputs("local")} & written
    assert read or stage == "code"


def test_each_stage_runs_after_the_check_of_the_whole_file() -> None:
    checked = {"check"}
    for stage in [*STAGES][[*STAGES].index("check") + 1 :]:
        written = {masked(path): name for name in checked for path in outputs(name)}
        written |= {str(Path(path).parent): name for path, name in written.items()}
        read = {masked(dep) for dep in STAGES[stage]["deps"]}
        read |= {LOCAL.rstrip("/") for dep in read if dep.startswith(LOCAL)}
        assert not read.isdisjoint(written), stage
        checked.add(stage)

    assert "params.yaml" in STAGES["check"]["deps"]
    assert checked == {*STAGES} - {"code"}


@each_stage
def test_no_command_has_a_value_of_params(stage: str) -> None:
    # DVC would write the value into a line that a shell reads.
    assert "${" not in STAGES[stage]["cmd"]
    variables = re.findall(r".?\$\w+", STAGES[stage]["cmd"])
    assert {*variables} <= {'"$DVC_ROOT', '"$DVC_STAGE'}


@each_stage
def test_a_stage_checks_its_values_as_the_check_of_the_file_does(stage: str) -> None:
    loaded = section(stage) or schema.Section

    for name, place in schema.places(loaded).items():
        field = loaded.model_fields[name]
        own = [mark for mark in field.metadata if not isinstance(mark, schema.At)]
        assert (field.annotation, own) == type_of(place), place


def type_of(place: str) -> tuple[Any, list[Any]]:
    """Return the type that `params.File` has for a place, with its limits."""
    field, found = FieldInfo.from_annotation(params.File), params.File
    for step in place.split("."):
        if step.startswith("$"):
            field = FieldInfo.from_annotation(get_args(found)[1])
        else:
            field = found.model_fields[step]
        found: Any = field.annotation
    return found, field.metadata


@each_stage
def test_each_cached_output_is_read_by_a_later_stage(stage: str) -> None:
    later = [*STAGES][[*STAGES].index(stage) + 1 :]
    read = {masked(dep) for name in later for dep in STAGES[name]["deps"]}
    read |= {str(Path(path).parent) for path in read if path.startswith((f"{CODE}/", LOCAL))}

    written = {masked(path) for path in outputs(stage) if path.startswith("data/")}

    assert {path for path in written if not {path, str(Path(path).parent)} & read} == set()


def test_folders_are_those_of_the_pipeline() -> None:
    paths = {path for stage in STAGES for path in (*STAGES[stage]["deps"], *outputs(stage))}

    folders = {*FOLDERS.split("|")}
    assert {path.partition("/")[0] for path in paths} == folders | {"params.yaml"}


def masked(path: str) -> str:
    """Return a path with `*` in place of each value that DVC fills in."""
    return re.sub(r"\$\{.*?\}", "*", path)


@each_stage
def test_results_are_in_git_and_data_is_not(stage: str) -> None:
    for path, (kind, settings) in outputs(stage).items():
        assert path.startswith(("results/", "data/"))
        tracked = path.startswith("results/") and path not in LARGE
        assert settings.get("cache", True) is not tracked
        if stage not in SECONDS:
            # An uncached output that is no metric or plot makes DVC forget earlier runs.
            assert not (tracked and kind == "outs")
            assert "persist" not in settings


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(path, id=str(path.relative_to(ROOT)))
        for path in sorted([*LIBRARY.rglob("*.py"), *(ROOT / "stages").glob("*.py")])
    ],
)
def test_code_contains_no_path_of_the_repository(program: Path) -> None:
    found = [text for text in strings(program) if re.search(rf"(?<![\w/])({FOLDERS})/", text)]

    assert found == []


def strings(program: Path) -> Iterator[str]:
    """Yield the strings of a program that are not docstrings."""
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
        for place in schema.declared(loaded)
    }

    # Of these, studies are for make study, which sets values that stages read.
    fields = {*schema.read(PARAMS)} - {"scales", "launch", "studies"}
    assert {*params.File.model_fields} == {*schema.read(PARAMS)} - {*schema.DEFAULTS.values()}
    assert {place.partition(".")[0] for place in read} == fields | {"scales"}
    parts = {f"scales.${{scale}}.{name}" for name in scales.Scale.model_fields}
    assert parts <= read


def leaves(node: Any, *steps: str) -> Iterator[tuple[str, Any]]:
    """Yield the place and the value of each leaf of a map."""
    for name, value in node.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, *steps, name)
        else:
            yield ".".join((*steps, name)), value


def test_every_value_of_every_entry_can_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    shutil.copy(PARAMS, path)
    places = [place for place, value in leaves(schema.read(PARAMS)) if value != {}]

    apply_overrides(path, [f"{place}=7" for place in places])

    changed = dict(leaves(schema.read(path)))
    assert {place for place in places if changed[place] != 7} == set()


def test_every_component_and_every_scale_can_be_given_a_value(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    shutil.copy(PARAMS, path)
    values = schema.read(PARAMS)
    components = [
        f"datasets.{name}.{component}"
        for name, dataset in values["datasets"].items()
        for component in dataset
    ]
    scales = [f"scales.{name}" for name in values["scales"]]

    apply_overrides(path, [f"++{place}.subset=10%" for place in components])
    apply_overrides(path, [f"++{place}.test_time.steps=40" for place in scales])

    found = schema.resolve(schema.read(path))
    assert {one["subset"] for own in found["datasets"].values() for one in own.values()} == {"10%"}
    assert {scale["test_time"]["steps"] for scale in found["scales"].values()} == {40}
    check.check_file(path)


def test_a_mix_of_two_tables_needs_three_lines() -> None:
    text = "datasets:\n  my-mix:\n    new-train: {}\n    mini-arc: {weight: 3}\n"

    found = schema.resolve(YAML(typ="safe").load(text) | {"component": {"weight": 1}})

    assert found["datasets"]["my-mix"] == {
        "new-train": {"weight": 1, "tasks": "new-train"},
        "mini-arc": {"weight": 3, "tasks": "mini-arc"},
    }


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("seed=1", "seed: 1"),
        ("dataset=arc-1d", "dataset: arc-1d"),
        ("model=qwen2-0_5b-instruct", "model: qwen2-0_5b-instruct"),
        ("finetune.learning_rate=3e-4", "  learning_rate: 0.0003"),
        ("augment.new_tasks.probability=0.5", "    probability: 0.5"),
        (
            "+datasets.combo-v3.new-train.subset=10%",
            "  combo-v3: {new-train: {subset: 10%}, val-n-1: {weight: 7}}",
        ),
        ("mirror=/mnt/mirror", "mirror: /mnt/mirror"),
        (
            "launch=accelerate launch --config_file launch/ddp.yaml",
            "launch: accelerate launch --config_file launch/ddp.yaml",
        ),
        ("init.adapter=re-arc/0-85f495127d81", "  adapter: re-arc/0-85f495127d81"),
    ],
)
def test_an_override_by_dvc_edits_one_line(tmp_path: Path, override: str, line: str) -> None:
    path = tmp_path / "params.yaml"
    shutil.copy(PARAMS, path)

    apply_overrides(path, [override])

    before, after = PARAMS.read_text().splitlines(), path.read_text().splitlines()
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [line]
