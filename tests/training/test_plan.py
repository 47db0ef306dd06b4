import numpy as np
import pytest

from arcmix.text.tokenization import Example
from arcmix.training.plan import Plan
from tests.training.test_trainer import settings


def example(length, answer):
    return Example(np.zeros(length, np.int32), np.arange(length) >= length - answer)


SAMPLES = [example(9, 2), example(7, 4), example(8, 1)]


def plan(samples=SAMPLES, validation=SAMPLES, **changes):
    return Plan(samples, validation, settings(**changes), 0, "none", None)


def test_samples_are_used_in_order_and_repeat_after_the_last_one():
    made = plan(batch=2, budget=4)
    assert made.order.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert made.per_step([one.trained_tokens for one in SAMPLES]).tolist() == [6, 3, 5, 6]


def test_a_budget_of_answer_tokens_is_rounded_up_to_whole_steps():
    assert plan(batch=2, unit="answer_tokens", budget=6).steps == 1
    assert plan(batch=2, unit="answer_tokens", budget=7).steps == 2


@pytest.mark.parametrize(
    ("samples", "validation", "message"),
    [
        pytest.param([], SAMPLES, "no training sample is short enough", id="no-samples"),
        pytest.param(SAMPLES, [], "no validation prompt is short enough", id="no-validation"),
    ],
)
def test_a_plan_without_samples_or_validation_prompts_is_refused(samples, validation, message):
    with pytest.raises(ValueError, match=message):
        plan(samples, validation)
