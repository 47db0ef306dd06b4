import time

import numpy as np
import pytest

from benchmarks import harness


def test_drawn_tasks_have_the_sides_of_arc_and_one_rule_each():
    found = harness.drawn(400)
    shapes = np.array([task.train[0].input.shape for task in found])
    assert shapes.min() == 3
    assert 25 <= shapes.max() <= 30
    assert len({task.id for task in found}) == 400
    for task in found[:9]:
        rule = {}
        for one in task.train + task.test:
            assert one.input.shape == one.output.shape
            for color, other in zip(one.input.flat, one.output.flat, strict=True):
                assert rule.setdefault(color, other) == other


def test_drawn_tasks_are_always_the_same():
    one, other = (harness.drawn(2)[1] for _ in range(2))
    assert np.array_equal(one.test[0].input, other.test[0].input)
    assert not np.array_equal(one.test[0].input, harness.drawn(1)[0].test[0].input)


def test_a_meter_counts_the_memory_that_work_takes_and_not_the_time_that_it_sleeps():
    if not harness.STATUS.exists():
        pytest.skip("only Linux tells the peak memory of a process")
    meter = harness.Meter()
    block = np.ones(2**25)
    time.sleep(0.2)
    used = meter.read()
    assert block.nbytes / harness.MIB * 0.9 < used.peak
    assert used.wall > 0.2


def test_a_table_has_a_row_for_each_way(capsys):
    harness.table("way", ["s", "x"], [("one", ["2", "1"]), ("other", ["1", "2"])], "Notes.")
    assert capsys.readouterr().out.splitlines() == [
        "",
        "Notes.",
        "",
        "| way | s | x |",
        "| --- | ---: | ---: |",
        "| one | 2 | 1 |",
        "| other | 1 | 2 |",
        "",
    ]
