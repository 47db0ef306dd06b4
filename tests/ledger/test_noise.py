import dataclasses
import statistics

import numpy as np
import pytest
from scipy import stats

from arcmix.ledger import noise
from tests.rows import row


def made(loss, *, seed=0, init: int | str = 0, partition=7, dataset="combo-v2"):
    plain = row(dataset, seed, loss=loss)
    settings = plain.settings | {
        "init_seed": init,
        "partition": {"seed": partition, "tasks": 100},
        "validation_digest": f"digest of {partition}",
    }
    return dataclasses.replace(plain, settings=settings)


DATA = [made(0.5, seed=0), made(0.6, seed=1), made(0.8, seed=2)]
INIT = [made(0.51, init=1), made(0.53, init=2)]
PARTITION = [made(0.9, partition=8)]


def test_the_spread_of_a_seed_is_of_runs_that_differ_in_it_alone():
    found = noise.spreads([*DATA, *INIT, *PARTITION], "best_val_loss")
    assert [one.factor for one in found] == ["seed", "init_seed", "partition.seed"]
    assert [(one.groups, one.runs) for one in found] == [(1, 3), (1, 3), (1, 2)]
    assert [one.deviation for one in found] == pytest.approx(
        [
            statistics.stdev([0.5, 0.6, 0.8]),
            statistics.stdev([0.5, 0.51, 0.53]),
            statistics.stdev([0.5, 0.9]),
        ]
    )
    assert [one.mean for one in found] == pytest.approx([1.9 / 3, 1.54 / 3, 0.7])


def test_the_variances_of_several_datasets_are_pooled():
    other = [made(5.0, seed=0, dataset="train"), made(5.1, seed=1, dataset="train")]
    found = noise.spreads([*DATA, *other], "best_val_loss")[0]
    assert (found.groups, found.runs) == (2, 5)
    squares = statistics.variance([0.5, 0.6, 0.8]) * 2 + statistics.variance([5.0, 5.1])
    assert found.deviation == pytest.approx((squares / 3) ** 0.5)


def test_init_seed_may_follow_the_seed():
    both = [made(0.5, seed=0, init="seed"), made(0.7, seed=1, init="seed")]
    assert all(one.deviation is None for one in noise.spreads(both, "best_val_loss"))
    tied = noise.spreads([both[0], made(0.6, seed=0, init=1)], "best_val_loss")
    assert [one.groups for one in tied] == [0, 1, 0]


def test_groups_with_the_same_values_of_a_seed_add_no_degrees_of_freedom():
    tied = [made(0.4, seed=seed, init=seed) for seed in (1, 2)]
    found = noise.spreads([*DATA, *INIT, *PARTITION, *tied], "best_val_loss")
    assert [(one.groups, one.runs, one.degrees) for one in found] == [
        (3, 7, 2),
        (3, 7, 2),
        (1, 2, 1),
    ]
    squares = sum(statistics.variance(own) for own in ([0.51, 0.4], [0.53, 0.4]))
    pooled = (statistics.variance([0.5, 0.6, 0.8]) * 2 + squares) / 4
    assert found[0].deviation == pytest.approx(pooled**0.5)
    others = [made(5.0, seed=seed, dataset="train") for seed in range(3)]
    assert noise.spreads([*DATA, *others], "best_val_loss")[0].degrees == 4


def test_two_rows_of_the_same_three_seeds_are_one_run():
    again = made(0.5, seed=0, init="seed")
    for factor, one in enumerate(noise.spreads([*DATA, *INIT, *PARTITION, again], "best_val_loss")):
        alone = noise.spreads([*DATA, *INIT, *PARTITION], "best_val_loss")[factor]
        assert one == alone


def test_runs_on_other_machines_are_in_no_group_together():
    elsewhere = dataclasses.replace(DATA[2], machines=row(threads=8).machines)
    found = noise.spreads([*DATA[:2], elsewhere], "best_val_loss")[0]
    assert (found.groups, found.runs) == (1, 2)
    assert found.deviation == pytest.approx(statistics.stdev([0.5, 0.6]))
    with pytest.raises(ValueError, match="no two of 2 runs"):
        noise.as_markdown([DATA[0], elsewhere], ["best_val_loss"])


def test_the_shares_of_the_variance_have_intervals_of_the_f_distribution():
    found = noise.spreads([*DATA, *INIT, *PARTITION], "best_val_loss")
    shares = noise.shares(found)
    variances = [statistics.variance(own) for own in ([0.5, 0.6, 0.8], [0.5, 0.51, 0.53])]
    variances.append(statistics.variance([0.5, 0.9]))
    assert shares is not None
    assert [one.value for one in shares] == pytest.approx(
        [own / sum(variances) for own in variances]
    )
    assert [one.degrees for one in found] == [2, 2, 1]
    own, *others = variances
    degrees = sum(others) ** 2 / (others[0] ** 2 / 2 + others[1] ** 2 / 1)
    ends = [own / sum(others) / stats.f.ppf(end, 2, degrees) for end in (0.975, 0.025)]
    assert (shares[0].low, shares[0].high) == pytest.approx(tuple(one / (1 + one) for one in ends))


@pytest.mark.parametrize("runs", [(3, 3, 3), (5, 3, 9)])
@pytest.mark.parametrize("variances", [(1, 1, 1), (10, 1, 0.1)])
def test_the_intervals_of_the_shares_cover_as_often_as_they_say(runs, variances):
    random = np.random.default_rng(0)
    studies = 300
    covered = []
    for _ in range(studies):
        found = [
            noise.Spread(
                "seed", number, 1, 0.0, random.normal(0, own**0.5, number).std(ddof=1), number - 1
            )
            for number, own in zip(runs, variances, strict=True)
        ]
        shares = noise.shares(found)
        assert shares is not None
        covered += [
            one.low <= own / sum(variances) <= one.high
            for one, own in zip(shares, variances, strict=True)
        ]
    # The degrees of freedom are approximate, so the intervals may cover 90 %.
    assert np.mean(covered) >= 0.90 - 4 * (0.09 / studies) ** 0.5


def test_a_seed_without_runs_or_without_effect_leaves_the_shares_open():
    assert noise.shares(noise.spreads([*DATA, *INIT], "best_val_loss")) is None
    every = [*DATA, *INIT, *PARTITION]
    assert noise.shares(noise.spreads(every, "accuracy")) is None
    same = [made(0.5, init=1), *DATA, *PARTITION]
    shares = noise.shares(noise.spreads(same, "best_val_loss"))
    assert shares is not None
    none = shares[1]
    assert (none.value, none.low, none.high) == (0, 0, 1)


def test_the_second_table_has_the_shares_of_metrics_that_vary():
    text = noise.as_markdown([*DATA, *INIT, *PARTITION], ["best_val_loss", "accuracy"])
    _, table = text.split("\n\n| share")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert lines[0] == ["best_val_loss"]
    assert [line[0] for line in lines[2:]] == ["`seed`", "`init_seed`", "`partition.seed`"]
    texts = ["23 % (0 to 92)", "0 % (0 to 8)", "77 % (8 to 100)"]
    assert [line[1] for line in lines[2:]] == texts


def test_the_table_has_a_line_for_each_seed():
    text = noise.as_markdown(DATA, ["best_val_loss", "accuracy"])
    assert text.splitlines()[0] == "### smollm2-135m at quick"
    cells = [line.split("|")[1:-1] for line in text.splitlines()[4:]]
    assert [[cell.strip() for cell in line] for line in cells] == [
        ["`seed`", "1", "3", "0.6333 ± 0.1528", "0.0420 ± 0.0000"],
        ["`init_seed`", "0", "0", "", ""],
        ["`partition.seed`", "0", "0", "", ""],
    ]


def test_each_model_and_scale_has_a_table():
    tiny = [dataclasses.replace(row, model="tiny", scale="tiny") for row in INIT]
    single = dataclasses.replace(DATA[0], scale="paper")
    text = noise.as_markdown([*DATA, single, *tiny], ["best_val_loss"])
    titles = [line for line in text.splitlines() if line.startswith("#")]
    assert titles == ["### smollm2-135m at quick", "### tiny at tiny"]
    counts = [
        [int(cell) for cell in line.split("|")[2:4]]
        for line in text.splitlines()
        if line.startswith("| `init_seed`")
    ]
    assert counts == [[0, 0], [1, 2]]


def test_runs_that_differ_in_several_seeds_are_refused():
    with pytest.raises(ValueError, match=r"no two of 2 runs .* seed, init_seed, .*: make noise"):
        noise.as_markdown([DATA[0], made(0.6, seed=1, partition=8)], ["best_val_loss"])
