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
    for module in (params, scales)
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
    assert field.is_required()
    assert field.description


def test_new_tasks_refuse_weights_of_which_none_can_be_drawn() -> None:
    with pytest.raises(ValidationError, match="one weight or more is above 0, got 0 for all"):
        params.NewTaskWeights(geometric=0, padding=0, upscale=0, mirror=0)


@pytest.mark.parametrize("heads", [3, 4])
def test_random_model_refuses_heads_of_odd_width(heads: int) -> None:
    with pytest.raises(ValidationError, match=rf"2 \* heads divides hidden, got {heads} for 20"):
        origins.RandomModel(kind="random", seed=0, hidden=20, layers=2, heads=heads, positions=64)


@pytest.mark.parametrize(
    ("changes", "init", "message"),
    [
        ({"method": "qlora"}, "pissa", "qlora has weights of 4 bits, which init pissa cannot"),
        ({"method": "qlora"}, "olora", "choose init default or gaussian, or method lora"),
    ],
)
def test_finetune_refuses_a_method_without_the_weights(changes, init: str, message: str) -> None:
    values = check.check_file(ROOT / "params.yaml").scales["tiny"].finetune.model_dump(mode="json")
    lora = values["lora"] | {"init": init}
    with pytest.raises(ValidationError, match=message):
        scales.Finetune.model_validate_json(json.dumps(values | changes | {"lora": lora}))
