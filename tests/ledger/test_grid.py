import numpy as np
import pytest

from arcmix.ledger import grid
from arcmix.ledger.records import Row
from tests.ledger.subset_rows import subset_row

TASKS, AMOUNTS = (100, 200, 400), (1, 2)


def runs(
    of_tasks: float, of_amounts: float, amounts=AMOUNTS, axis="examples", noise=0.01, **fields
) -> list[Row]:
    """Return runs whose loss changes by a doubling of the tasks and of the examples."""
    random = np.random.default_rng(0)
    level = random.random(30)
    return [
        subset_row(
            tasks,
            seed,
            per_cell=(
                level
                + of_tasks * np.log2(tasks)
                + of_amounts * np.log2(9 if amount == "all" else amount)
                + noise * random.standard_normal(30)
            ).tolist(),
            changes={axis: amount},
            **fields,
        )
        for tasks in TASKS
        for amount in amounts
        for seed in range(3)
    ]


def test_different_tasks_matter_more_if_their_doubling_lowers_the_loss_more() -> None:
    (found,) = grid.grids(runs(-0.1, -0.03))
    assert found.contrast is not None
    assert found.contrast.mean == pytest.approx(-0.07, abs=0.01)
    assert (found.contrast.seeds, found.contrast.tasks) == (3, 30)
    size = f"{-found.contrast.mean:.3f} ± {found.contrast.half_width():.3f}"
    assert found.text == (
        f"different tasks matter more: the loss with twice as many tasks is {size} lower than with"
        " twice as many examples"
    )


def test_more_examples_may_matter_more_and_chance_may_decide() -> None:
    (more,) = grid.grids(runs(-0.03, -0.1))
    assert more.text.startswith("more examples matter more: the loss with twice as many examples")
    (unclear,) = grid.grids(runs(-0.05, -0.05, noise=0.1))
    assert unclear.contrast is not None
    assert unclear.text.startswith("cannot tell: the loss with twice as many ")
    assert f"a difference of {unclear.contrast.detectable():.3f} would have shown" in unclear.text


def test_of_four_cells_the_contrast_is_that_of_the_two_with_as_many_pairs() -> None:
    rows = [one for one in runs(-0.1, -0.03) if one.mix["tasks"] < 400]
    (found,) = grid.grids(rows)
    losses = {key: loss.mean for key, loss in found.losses.items()}
    assert found.contrast is not None
    assert found.contrast.mean == pytest.approx(losses[200, 1] - losses[100, 2])


def test_the_cells_are_ready_for_a_heat_map_and_a_table() -> None:
    rows = runs(-0.1, -0.03, amounts=(10, 2, "all"))
    few = [one for one in rows if one.mix["tasks"] < 400 or one.components[0]["examples"] == 2]
    (found,) = grid.grids(few[:-2])
    assert (found.tasks, found.amounts) == ((100, 200, 400), (2, 10, "all"))
    assert found.means.shape == (3, 3)
    assert np.isnan(found.means[2]).tolist() == [False, True, True]
    own = [one.metrics["answering_loss_per_cell"] for one in rows[:3]]
    loss = found.losses[100, 10]
    assert (loss.mean, loss.sd) == pytest.approx((np.mean(own), np.std(own, ddof=1)))
    assert (loss.seeds, loss.answer_tokens) == (3, 9 * 40)
    assert found.losses[400, 2].sd is None
    lines = grid.as_markdown(found).splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[1:-1]] == [
        "tasks",
        "examples 2",
        "examples 10",
        "examples all",
    ]
    assert lines[2].split("|")[3].strip() == f"{loss.mean:.4f} ± {loss.sd:.4f} (3)"
    assert lines[4].split("|")[2].strip() == f"{found.losses[400, 2].mean:.4f} (1)"
    assert lines[-1] == found.text
    assert found.text == (
        "cannot tell: 5 cells with 3 numbers of tasks and 2 numbers of examples; run each number"
        " of tasks with each number of examples, at least 2 of both"
    )


def test_all_examples_are_no_number_and_count_not() -> None:
    (found,) = grid.grids(runs(-0.1, -0.03, amounts=(2, "all")))
    assert found.contrast is None
    assert found.text.startswith("cannot tell: 3 cells with 3 numbers of tasks and 1 numbers of")
    (more,) = grid.grids(runs(-0.1, -0.03, amounts=(2, 4, "all")))
    assert more.contrast is not None
    assert more.contrast.mean == pytest.approx(-0.07, abs=0.01)


def test_variations_make_a_grid_too() -> None:
    rows = runs(-0.1, -0.03, axis="variations")
    assert grid.grids(rows) == []
    (found,) = grid.grids(rows, "variations")
    assert found.text.endswith("lower than with twice as many variations")


def test_unequal_exposure_is_told() -> None:
    rows = runs(-0.1, -0.03)
    rows[0].history[-1]["answer_tokens"] = 1000
    (found,) = grid.grids(rows)
    assert found.text.endswith(
        "; the exposure is not equal: 360 to 573 answer tokens, so set finetune.unit to"
        " answer_tokens"
    )


def test_one_seed_tells_nothing() -> None:
    (found,) = grid.grids([one for one in runs(-0.1, -0.03) if one.seed == 0])
    assert found.contrast is None
    assert found.text.startswith("cannot tell: 6 cells of 1 seeds and 30 tasks")
