import math

import pytest

from arcmix.models import pretrained
from arcmix.prediction import pass_cost


@pytest.mark.parametrize(
    ("fixed", "token", "cost"), [(50, 1, 50), (3, 0.5, 6), (7, 0, pass_cost.LARGEST_PASS_COST - 16)]
)
def test_the_fixed_cost_of_a_pass_follows_from_the_times_of_a_short_and_a_long_one(
    base_model, fixed, token, cost
):
    tiny, passes = pretrained.load(base_model, "float32"), []
    tiny.register_forward_pre_hook(
        lambda *given: passes.append(tuple(given[-1]["input_ids"].shape)), with_kwargs=True
    )

    def seconds(work):
        work()
        return fixed + token * math.prod(passes[-1])

    assert pass_cost.measured_cost(tiny, seconds) == pytest.approx(cost)
    assert passes[1:] == [(16, 1), (16, 64)]
    assert pass_cost.pass_cost(tiny) == pass_cost.CPU_PASS_COST
