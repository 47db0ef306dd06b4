import re
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import ValidationError

from arcmix.config import origins, params, scales, schema
from arcmix.config.schema import At, Section

FINETUNE = """\
budget: 6
unit: steps
batch: 4
micro_tokens: 512
max_tokens: 512
too_long: skip
loss: answer
learning_rate: 1e-4
schedule: linear
cycles: 1
warmup: 0
optimizer: adamw
weight_decay: 0.0
max_grad_norm: 1.0
dtype: float32
gradient_checkpointing: false
eval_every: 2
eval_tokens: 2048
method: lora
lora:
  rank: 4
  alpha: 8
  scale: alpha
  dropout: 0.0
  targets:
  - all-linear
  rslora: false
  dora: false
  init: default
"""


class Entry(Section):
    """A section with one value."""

    depth: params.PositiveInt
    """The depth."""


class Some(Section):
    """The parameters of a stage."""

    seed: Annotated[int, At("seed")]
    entry: Annotated[Entry, At("scales.${scale}.entry")]


class Keyed(Section):
    """The parameters of a stage that runs once for each source."""

    source: Annotated[origins.Source, At("sources.${key}")]


@pytest.fixture
def file(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "params.yaml"
        path.write_text(text)
        return path

    return write


def test_load_reads_only_the_chosen_entry(file) -> None:
    path = file("scale: b\nseed: 3\nscales:\n  a: broken\n  b:\n    entry:\n      depth: 2\n")

    found = schema.load(path, Some)

    assert (found.seed, found.entry.depth) == (3, 2)
    with pytest.raises(ValidationError, match="frozen"):
        found.seed = 4  # pyright: ignore[reportAttributeAccessIssue]


class Whole(Section):
    """The parameters of a stage that fine-tunes."""

    finetune: Annotated[scales.Finetune, At("scales.${scale}.finetune")]


def finetune(defaults: str, own: str = "{}") -> str:
    """Return a file with one scale: the defaults of a fine-tune and the own values of the scale."""
    indented = "".join(f"  {line}\n" for line in defaults.splitlines())
    return f"scale: b\nfinetune:\n{indented}scales:\n  b:\n    finetune: {own}\n"


def test_load_reads_yaml_as_dvc_does(file) -> None:
    found = schema.load(file(finetune(FINETUNE)), Whole).finetune

    assert (found.warmup, found.learning_rate) == (0.0, 1e-4)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param(
            "seed: 3", "seed: x", "seed: Input should be a valid integer, got 'x'", id="text"
        ),
        pytest.param(
            "seed: 3", "seed: 3.0", "seed: Input should be a valid integer, got 3.0", id="float"
        ),
        pytest.param(
            "seed: 3",
            "sed: 3",
            "seed is missing: 'seed' is not one of ['scale', 'scales', 'sed']; did you mean 'sed'?",
            id="missing",
        ),
        pytest.param(
            "scale: b",
            "scale: c",
            "scales.c.entry is missing: 'c' is not one of ['b']",
            id="entry",
        ),
        pytest.param(
            "entry:",
            "entrance:",
            "scales.b.entry is missing: 'entry' is not one of ['entrance'];"
            " did you mean 'entrance'?",
            id="section",
        ),
        pytest.param(
            "depth: 2",
            "depth: 0",
            "scales.b.entry.depth: Input should be greater than or equal to 1, got 0",
            id="range",
        ),
        pytest.param(
            "depth: 2",
            "deep: 2",
            "scales.b.entry.depth: Field required;"
            " scales.b.entry.deep: 'deep' is not one of ['depth']; did you mean 'depth'?",
            id="names",
        ),
        pytest.param(
            "entry:\n      depth: 2",
            "entry: 2",
            "scales.b.entry: Input should be an object, got 2",
            id="no-section",
        ),
    ],
)
def test_load_rejects(file, old: str, new: str, message: str) -> None:
    text = "scale: b\nseed: 3\nscales:\n  b:\n    entry:\n      depth: 2\n"
    assert old in text

    with pytest.raises(ValueError, match=f"params.yaml: {re.escape(message)}$"):
        schema.load(file(text.replace(old, new)), Some)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "not a mapping of names to values, got None", id="empty"),
        pytest.param("- 1\n", "not a mapping of names to values, got [1]", id="list"),
        pytest.param("seed: [", "not valid YAML: ", id="broken"),
        pytest.param("seed: 1\nseed: 2\n", "not valid YAML: ", id="twice"),
    ],
)
def test_load_rejects_a_file(file, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"params.yaml: {re.escape(message)}"):
        schema.load(file(text), Some)


def test_an_error_in_an_entry_with_a_kind_has_the_place_of_the_value(file) -> None:
    path = file(
        "sources:\n  arc:\n    kind: package\n    package: 5\n    file: f\n    splits: {}\n"
        "    max_side: 30\n    tasks: 1\n    tests: 1\n    digest: f00\n"
    )

    with pytest.raises(
        ValueError, match=r"yaml: sources\.arc\.digest: .*; sources\.arc\.package: "
    ):
        schema.load(path, Keyed, key="arc")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param(
            "method: lora",
            "method: adapter",
            "finetune.method: Input should be 'lora', 'qlora' or 'full', got 'adapter'",
            id="method",
        ),
        pytest.param(
            "learning_rate: 1e-4",
            "learning_rate: .inf",
            "finetune.learning_rate: Input should be a finite number",
            id="infinite",
        ),
        pytest.param(
            "learning_rate: 1e-4",
            "learning_rate: 2026-11-21",
            "finetune.learning_rate: Input should be a valid number, got '2026-11-21'",
            id="date",
        ),
        pytest.param(
            "warmup: 0",
            "warmup: 1.5",
            "finetune.warmup: Input should be less than or equal to 1, got 1.5",
            id="share",
        ),
        pytest.param(
            "  targets:\n  - all-linear",
            "  targets: []",
            "finetune.lora.targets: Tuple should have at least 1 item",
            id="targets",
        ),
        pytest.param(
            "schedule: linear",
            "schedule: liner",
            "finetune.schedule: Input should be 'linear', 'constant', 'cosine',"
            " 'cosine_with_restarts' or 'cyclic', got 'liner'",
            id="literal",
        ),
    ],
)
def test_finetune_rejects(file, old: str, new: str, message: str) -> None:
    assert old in FINETUNE

    with pytest.raises(ValueError, match=f"params.yaml: {re.escape(message)}"):
        schema.load(file(finetune(FINETUNE.replace(old, new))), Whole)


@pytest.mark.parametrize(
    ("own", "rank", "alpha"),
    [("", 4, 8), ("{}", 4, 8), ("{lora: {rank: 2}}", 2, 8), ("{lora: {alpha: 1, rank: 3}}", 3, 1)],
)
def test_the_values_of_an_entry_override_its_defaults(file, own, rank, alpha) -> None:
    found = schema.load(file(finetune(FINETUNE, own)), Whole).finetune

    assert (found.lora.rank, found.lora.alpha, found.batch) == (rank, alpha, 4)


def test_a_list_of_an_entry_replaces_the_default_list(file) -> None:
    found = schema.load(file(finetune(FINETUNE, "{lora: {targets: [q_proj]}}")), Whole).finetune

    assert found.lora.targets == ("q_proj",)


@pytest.mark.parametrize(
    ("own", "place"),
    [
        ("{}", "finetune.batch"),
        ("{lora: {rank: 2}}", "finetune.batch"),
        ("{batch: 0}", "scales.b.finetune.batch"),
    ],
)
def test_an_error_has_the_place_at_which_the_file_contains_the_value(file, own, place) -> None:
    text = finetune(FINETUNE.replace("batch: 4", "batch: 0"), own)

    message = f"params.yaml: {re.escape(place)}: Input should be greater than or equal to 1, got 0$"
    with pytest.raises(ValueError, match=message):
        schema.load(file(text), Whole)


def test_a_value_without_a_default_is_reported_as_missing_from_the_entry(file) -> None:
    text = finetune(FINETUNE.replace("budget: 6\n", ""))

    with pytest.raises(
        ValueError, match=r"params.yaml: scales\.b\.finetune\.budget: Field required$"
    ):
        schema.load(file(text), Whole)


def test_an_error_in_a_list_of_the_defaults_names_the_defaults(file) -> None:
    text = finetune(FINETUNE.replace("  - all-linear", "  - 5"))

    with pytest.raises(ValueError, match=r"params.yaml: finetune\.lora\.targets\.0: .*, got 5;"):
        schema.load(file(text), Whole)


def test_defaults_that_are_no_map_are_refused(file) -> None:
    with pytest.raises(
        ValueError, match=r"params.yaml: prompt: the defaults are a map of values, got 5;"
    ):
        schema.load(file(finetune(FINETUNE) + "prompt: 5\n"), Whole)


def test_a_component_uses_the_table_with_its_name_unless_it_has_another() -> None:
    values = {
        "component": {"weight": 1, "examples": "all"},
        "datasets": {"mix": {"train": None, "again": {"tasks": "train", "weight": 3}}},
    }

    assert schema.resolve(values) == {
        "datasets": {
            "mix": {
                "train": {"weight": 1, "examples": "all", "tasks": "train"},
                "again": {"weight": 3, "examples": "all", "tasks": "train"},
            }
        }
    }


def test_resolve_does_not_change_its_argument() -> None:
    values = {"finetune": {"lora": {"rank": 4}}, "scales": {"b": {"finetune": {"batch": 2}}}}

    found = schema.resolve(values)

    assert found == {"scales": {"b": {"finetune": {"lora": {"rank": 4}, "batch": 2}}}}
    assert values["scales"]["b"]["finetune"] == {"batch": 2}


class Places(Section):
    """Fields with and without defaults."""

    seed: Annotated[int, At("seed")]
    dataset: Annotated[dict, At("datasets.${dataset}")]
    width: Annotated[int, At("scales.${scale}.predict.width")]
    tokens: Annotated[int, At("scales.${scale}.validation.max_tokens")]


class WholeScale(Section):
    """A whole scale."""

    scale: Annotated[dict, At("scales.${scale}")]


def test_declared_places_are_those_of_the_fields_and_of_their_defaults() -> None:
    assert schema.declared(Places) - {*schema.places(Places).values()} == {"component", "predict"}
    assert schema.declared(WholeScale) == {
        "scales.${scale}",
        "prompt",
        "finetune",
        "test_time",
        "predict",
    }


def test_places_are_those_of_the_fields() -> None:
    assert schema.places(Some) == {"seed": "seed", "entry": "scales.${scale}.entry"}


def test_places_rejects_a_field_without_a_place() -> None:
    with pytest.raises(
        ValueError, match=r"field 'depth' of Entry has the places \[\], but needs exactly one"
    ):
        schema.places(Entry)


def test_each_choice_and_its_map_are_fields_of_the_file() -> None:
    names = {name for pair in schema.CHOICES.items() for name in pair}

    assert names <= {*params.File.model_fields}
