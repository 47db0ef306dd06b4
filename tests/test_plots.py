from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from arcmix import plots, table
from tests.rows import row

CODE = row().code
ONE = [row(loss=0.6)]
MANY = [
    row(f"data-{number}", seed, loss=0.1 + 0.02 * number + 0.01 * seed, uses_validation=number < 3)
    for number in range(11)
    for seed in range(3)
]
CASES = [
    pytest.param(ONE, id="one-run"),
    pytest.param(MANY, id="many-datasets"),
    pytest.param([*MANY, row(model="tiny", scale="tiny", loss=2.5)], id="two-sections"),
    pytest.param([row(code="other0000000")], id="stale-only"),
]
DRAW = [plots.bars, plots.curves]


def drawn(draw, path: Path, entries: list) -> np.ndarray:
    draw(path, table.sections(entries, CODE))
    return matplotlib.image.imread(path)


@pytest.mark.parametrize("entries", CASES)
@pytest.mark.parametrize("draw", DRAW)
def test_a_figure_is_a_png_of_some_size_with_ink(draw, entries: list, tmp_path: Path) -> None:
    image = drawn(draw, tmp_path / "a.png", entries)
    assert image.shape[0] >= 150
    assert image.shape[1] == 1200
    assert image[..., :3].min() < 0.5


@pytest.mark.parametrize("draw", DRAW)
def test_equal_rows_make_equal_bytes(draw, tmp_path: Path) -> None:
    first, again = tmp_path / "first.png", tmp_path / "again.png"
    drawn(draw, first, MANY)
    drawn(draw, again, MANY[::-1])
    assert first.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("draw", DRAW)
def test_stale_rows_are_not_drawn(draw, tmp_path: Path) -> None:
    without = drawn(draw, tmp_path / "a.png", ONE)
    stale = drawn(draw, tmp_path / "b.png", [*ONE, row("train", code="other0000000")])
    np.testing.assert_array_equal(stale, without)


@pytest.mark.parametrize("draw", DRAW)
def test_another_loss_makes_another_figure(draw, tmp_path: Path) -> None:
    first = drawn(draw, tmp_path / "a.png", ONE)
    other = drawn(draw, tmp_path / "b.png", [row(loss=0.5)])
    assert first.shape != other.shape or (first != other).any()


def test_figures_take_runs_that_were_measured_at_other_steps(tmp_path: Path) -> None:
    entry = row(seed=1)
    entries = [*ONE, replace(entry, history=entry.history[:2])]
    assert drawn(plots.curves, tmp_path / "a.png", entries).size


def test_bars_tell_validation_demonstrations_by_color(tmp_path: Path) -> None:
    plain = drawn(plots.bars, tmp_path / "a.png", ONE)
    seen = drawn(plots.bars, tmp_path / "b.png", [row(loss=0.6, uses_validation=True)])
    orange = np.array([0xEE, 0x99, 0x55]) / 255
    areas = [
        np.isclose(image[..., :3], orange, atol=0.01).all(axis=-1).sum() for image in (plain, seen)
    ]
    assert areas[1] > 10 * areas[0]
