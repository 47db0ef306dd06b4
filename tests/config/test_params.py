import inspect
import json
import re
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import ValidationError

from arcmix.config import params, scales, schema
from arcmix.config.schema import At, Section

SECTIONS = [
    value
    for value in vars(params).values()
    if inspect.isclass(value) and issubclass(value, Section) and value is not Section
]
FIELDS = [
    pytest.param(field, id=f"{section.__name__}.{name}")
    for section in SECTIONS
    for name, field in section.model_fields.items()
]
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
cut_vocabulary: false
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
    """A section of one value."""

    depth: params.PositiveInt
    """How deep."""


class Some(Section):
    """What a stage would read."""

    seed: Annotated[int, At("seed")]
    entry: Annotated[Entry, At("scales.${scale}.entry")]


class Keyed(Section):
    """What a stage would read that runs once for each source."""

    source: Annotated[params.Source, At("sources.${key}")]


@pytest.fixture
def file(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "params.yaml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("field", FIELDS)
def test_field_is_documented_and_has_no_default(field: Any) -> None:
    assert field.is_required()
    assert field.description


def test_load_reads_the_chosen_entry_alone(file) -> None:
    path = file("scale: b\nseed: 3\nscales:\n  a: broken\n  b:\n    entry:\n      depth: 2\n")

    found = schema.load(path, Some)

    assert (found.seed, found.entry.depth) == (3, 2)
    with pytest.raises(ValidationError, match="frozen"):
        found.seed = 4  # pyright: ignore[reportAttributeAccessIssue]


def test_load_takes_a_dot_in_a_name_for_a_step_down(file) -> None:
    path = file(
        "scale: a-0.5b\nseed: 3\nscales:\n  a-0:\n    5b:\n      entry:\n        depth: 2\n"
    )

    assert schema.load(path, Some).entry.depth == 2


def test_load_reads_yaml_as_dvc_does(file) -> None:
    assert schema.load(file(f"finetune:\n{indented(FINETUNE)}"), Whole).finetune.warmup == 0.0
    assert (
        schema.load(file(f"finetune:\n{indented(FINETUNE)}"), Whole).finetune.learning_rate == 1e-4
    )


class Whole(Section):
    """A section of a section."""

    finetune: Annotated[scales.Finetune, At("finetune")]


def indented(text: str) -> str:
    """Return a block of YAML one level down."""
    return "".join(f"  {line}\n" for line in text.splitlines())


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
            " scales.b.entry.deep: Extra inputs are not permitted, got 2",
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
def test_load_refuses(file, old: str, new: str, message: str) -> None:
    text = "scale: b\nseed: 3\nscales:\n  b:\n    entry:\n      depth: 2\n"
    assert old in text

    with pytest.raises(ValueError, match=f"params.yaml: {re.escape(message)}$"):
        schema.load(file(text.replace(old, new)), Some)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "holds no names, got None", id="empty"),
        pytest.param("- 1\n", "holds no names, got [1]", id="list"),
        pytest.param("seed: [", "not YAML: ", id="broken"),
        pytest.param("seed: 1\nseed: 2\n", "not YAML: ", id="twice"),
    ],
)
def test_load_refuses_a_file(file, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"params.yaml: {re.escape(message)}"):
        schema.load(file(text), Some)


def test_load_names_the_place_of_a_value_in_one_of_several_kinds(file) -> None:
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
def test_finetune_refuses(file, old: str, new: str, message: str) -> None:
    assert old in FINETUNE

    with pytest.raises(ValueError, match=f"params.yaml: {re.escape(message)}"):
        schema.load(file(f"finetune:\n{indented(FINETUNE.replace(old, new))}"), Whole)


def test_new_tasks_refuse_weights_of_which_none_can_be_drawn() -> None:
    with pytest.raises(ValidationError, match="one weight or more is above 0, got 0 for all"):
        params.NewTaskWeights(geometric=0, padding=0, upscale=0, mirror=0)


@pytest.mark.parametrize("heads", [3, 4])
def test_random_model_refuses_heads_of_odd_width(heads: int) -> None:
    with pytest.raises(ValidationError, match=rf"2 \* heads divides hidden, got {heads} for 20"):
        params.RandomModel(kind="random", seed=0, hidden=20, layers=2, heads=heads, positions=64)


def test_places_are_those_of_the_fields() -> None:
    assert schema.places(Some) == {"seed": "seed", "entry": "scales.${scale}.entry"}


def test_places_refuses_a_field_without_one() -> None:
    with pytest.raises(ValueError, match=r"field 'depth' of Entry needs one place, has \[\]"):
        schema.places(Entry)


def test_every_choice_is_a_field_and_so_is_its_map() -> None:
    names = {name for pair in schema.CHOICES.items() for name in pair}

    assert names <= {*params.File.model_fields}


@pytest.mark.parametrize(
    ("changes", "init", "message"),
    [
        ({"method": "qlora"}, "pissa", "qlora has weights of 4 bits, which init pissa cannot"),
        ({"method": "qlora"}, "olora", "choose init default or gaussian, or method lora"),
        (
            {"method": "full", "cut_vocabulary": True},
            "default",
            "set cut_vocabulary to false or choose method lora",
        ),
    ],
)
def test_finetune_refuses_a_method_without_the_weights(changes, init: str, message: str) -> None:
    values = schema.read(Path(__file__).parents[2] / "params.yaml")["scales"]["tiny"]["finetune"]
    lora = values["lora"] | {"init": init}
    with pytest.raises(ValidationError, match=message):
        scales.Finetune.model_validate_json(json.dumps(values | changes | {"lora": lora}))
