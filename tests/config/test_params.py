import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from arcmix.config import check, origins, params, scales
from arcmix.config.schema import Section

ROOT = Path(__file__).parents[2]
SECTIONS = [
    value
    for module in (origins, params, scales)
    for value in vars(module).values()
    if inspect.isclass(value) and issubclass(value, Section) and value is not Section
]
FIELDS = [
    pytest.param(field, id=f"{section.__name__}.{name}")
    for section in SECTIONS
    for name, field in section.model_fields.items()
]


@pytest.mark.parametrize("field", FIELDS)
def test_field_is_documented_and_has_no_default(field: Any) -> None:
    # None is no value: it stands for a name that an entry leaves out.
    assert field.is_required() or field.default is None
    assert field.description


def test_new_tasks_need_a_weight_above_0() -> None:
    with pytest.raises(
        ValidationError, match="all weights are 0; set at least one of them above 0"
    ):
        params.NewTaskWeights(geometric=0, padding=0, upscale=0, mirror=0)


@pytest.mark.parametrize("heads", [3, 4])
def test_random_model_rejects_heads_of_odd_width(heads: int) -> None:
    with pytest.raises(ValidationError, match=rf"hidden is 20 and heads is {heads}; change one"):
        origins.RandomModel(kind="random", seed=0, hidden=20, layers=2, heads=heads, positions=64)


@pytest.mark.parametrize(
    ("changes", "init", "message"),
    [
        (
            {"method": "qlora"},
            "pissa",
            "init pissa decomposes the weights, but those of method qlora",
        ),
        ({"method": "qlora"}, "olora", "choose init default or gaussian, or method lora"),
    ],
)
def test_qlora_rejects_an_init_that_decomposes_the_weights(
    changes, init: str, message: str
) -> None:
    values = check.check_file(ROOT / "params.yaml").scales["tiny"].finetune.model_dump(mode="json")
    lora = values["lora"] | {"init": init}
    with pytest.raises(ValidationError, match=message):
        scales.Finetune.model_validate_json(json.dumps(values | changes | {"lora": lora}))
