import math
import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcmix.prediction.tables import Test
from arcmix.scoring import losses
from arcmix.scoring.losses import PromptLoss
from tests.answers import FLAT, TRUTH

PROMPTS = [
    PromptLoss("a", 6.0, 2, 1),
    PromptLoss("b", 4.0, 4, 3),
    PromptLoss("b", 2.0, 10, 8),
]


def test_the_mean_losses_of_three_prompts() -> None:
    found = losses.mean_losses(PROMPTS)
    assert found.per_token == pytest.approx(12 / 16)
    assert found.per_prompt == pytest.approx((3 + 1 + 0.2) / 3)
    assert found.per_task == pytest.approx((3 + 6 / 14) / 2)
    assert found.per_cell == pytest.approx(12 / 12)
    assert found.tasks == {"a": 3, "b": pytest.approx(6 / 14)}


@given(
    st.lists(
        st.builds(
            PromptLoss,
            st.sampled_from("abc"),
            st.floats(0, 1e3),
            st.integers(1, 900),
            st.integers(1, 900),
        ),
        min_size=1,
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_of_the_prompts_changes_no_mean(
    prompts: list[PromptLoss], dice: random.Random
) -> None:
    shuffled = dice.sample(prompts, len(prompts))
    assert losses.mean_losses(shuffled) == losses.mean_losses(prompts)


def test_the_three_means_agree_on_prompts_of_equal_length() -> None:
    found = losses.mean_losses(
        [PromptLoss(task, nll, 8, 5) for task, nll in zip("abc", (1, 2, 6), strict=True)]
    )
    assert math.isclose(found.per_token, found.per_prompt)
    assert math.isclose(found.per_token, found.per_task)


TRUTHS = {("b", 0): FLAT[:, :2], ("00000001", 0): TRUTH, ("00000001", 1): TRUTH}
TESTS = [("00000001", 0), ("b", 0)]
# The prompt of the second test of task 00000001 exceeds the token limit.
CURVE = {0: [8.0, 2.0], 3: [3.0, 1.0], 5: [2.0, 2.0]}


def read(
    folder: Path,
    curve: dict[int, list[float]],
    tests: list[Test] = TESTS,
    tokens: tuple[int, ...] = (2, 8),
) -> dict[int, list[PromptLoss]]:
    losses.write(folder / "losses", tests, tokens, curve)
    return losses.read(folder / "losses", TRUTHS)


@pytest.mark.parametrize("step", [1, -1])
def test_losses_are_read_by_step_as_they_were_written(tmp_path: Path, step: int) -> None:
    found = read(tmp_path, dict([*CURVE.items()][::step]))
    assert [*found] == [0, 3, 5]
    assert found[3] == [PromptLoss("00000001", 3.0, 2, 6), PromptLoss("b", 1.0, 8, 2)]


@pytest.mark.parametrize(
    ("curve", "tests", "tokens", "message"),
    [
        pytest.param(
            CURVE,
            [TESTS[0], ("c", 0)],
            (2, 8),
            "losses: ('c', 0) is not a validation task and one of its tests",
            id="another-task",
        ),
        pytest.param(
            CURVE,
            [TESTS[0], TESTS[0]],
            (2, 8),
            "losses: 3 of ('step', 'task', 'test') have more than one row,"
            " first (0, '00000001', 0)",
            id="twice",
        ),
        pytest.param(
            CURVE | {5: [2.0, float("nan")]},
            TESTS,
            (2, 8),
            "losses: row 5, nll: Input should be a valid number, got None; repeat the fine-tune",
            id="not-a-number",
        ),
        pytest.param(
            CURVE | {5: [2.0, float("inf")]},
            TESTS,
            (2, 8),
            "losses: row 5, nll: Input should be a finite number, got inf",
            id="infinite",
        ),
        pytest.param(
            CURVE,
            TESTS,
            (2, 0),
            "losses: row 1, tokens: Input should be greater than or equal to 1, got 0",
            id="no-token",
        ),
        pytest.param(
            {3: CURVE[3], 5: CURVE[5]},
            TESTS,
            (2, 8),
            "step 0 is missing, got {3: 2, 5: 2} prompts by step; every step from 0 on has",
            id="no-step-0",
        ),
    ],
)
def test_a_damaged_table_of_losses_is_refused(
    tmp_path: Path,
    curve: dict[int, list[float]],
    tests: list[Test],
    tokens: tuple[int, ...],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read(tmp_path, curve, tests, tokens)
