from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from arcmix.ledger import table
from arcmix.pages import charts, drawing
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
    pytest.param([*MANY, row(model="tiny", scale="tiny", loss=2.5)], id="two-blocks"),
    pytest.param([row(code="0fe000000000")], id="earlier-code-only"),
]
DRAW = [charts.forest, charts.curves]


def drawn(draw, path: Path, entries: list) -> np.ndarray:
    drawing.write_png(path, draw(table.blocks(entries, CODE, ["train"], {"0fe000000000": None})))
    return matplotlib.image.imread(path)


def area(image: np.ndarray, color: str) -> int:
    """Return how many pixels have a color."""
    rgb = np.array([*bytes.fromhex(color.removeprefix("#"))]) / 255
    return int(np.isclose(image[..., :3], rgb, atol=0.01).all(axis=-1).sum())


@pytest.mark.parametrize("entries", CASES)
@pytest.mark.parametrize("draw", DRAW)
def test_a_figure_is_a_png_that_is_not_empty(draw, entries: list, tmp_path: Path) -> None:
    image = drawn(draw, tmp_path / "a.png", entries)
    assert image.shape[0] >= 150
    assert image.shape[1] == 1200
    assert image[..., :3].min() < 0.5


@pytest.mark.parametrize("draw", DRAW)
def test_equal_rows_give_equal_bytes(draw, tmp_path: Path) -> None:
    first, again = tmp_path / "first.png", tmp_path / "again.png"
    drawn(draw, first, MANY)
    drawn(draw, again, MANY[::-1])
    assert first.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("draw", DRAW)
def test_rows_of_earlier_code_have_panels_of_their_own(draw, tmp_path: Path) -> None:
    without = drawn(draw, tmp_path / "a.png", ONE)
    both = drawn(draw, tmp_path / "b.png", [*ONE, row("train", code="0fe000000000")])
    assert both.shape[0] > 1.5 * without.shape[0]


@pytest.mark.parametrize("draw", DRAW)
def test_another_loss_gives_another_figure(draw, tmp_path: Path) -> None:
    first = drawn(draw, tmp_path / "a.png", ONE)
    other = drawn(draw, tmp_path / "b.png", [row(loss=0.5)])
    assert first.shape != other.shape or (first != other).any()


def test_runs_may_be_measured_at_different_steps(tmp_path: Path) -> None:
    entry = row(seed=1)
    entries = [*ONE, replace(entry, history=entry.history[:2])]
    assert drawn(charts.curves, tmp_path / "a.png", entries).size


def compared(loss: float, noise: float = 0.0) -> list:
    """Return runs of a baseline with a loss of 0.5, and of a dataset with another one."""
    return [
        row(name, seed, per_cell=[one + spread * (seed - 0.5), one + spread * (seed - 0.4)])
        for name, one, spread in [("train", 0.5, 0.0), ("combo-v2", loss, noise)]
        for seed in range(2)
    ]


@pytest.mark.parametrize(
    ("loss", "noise", "kind"),
    [(0.4, 0.002, "better"), (0.6, 0.002, "worse"), (0.5, 0.3, "unclear")],
)
def test_the_color_of_an_interval_shows_the_verdict(
    tmp_path: Path, loss: float, noise: float, kind: str
) -> None:
    # A legend with marks of all colors is on each chart.
    plain = drawn(charts.forest, tmp_path / "a.png", compared(0.5)[:2])
    image = drawn(charts.forest, tmp_path / "b.png", compared(loss, noise))
    grown = {
        name: area(image, color) - area(plain, color)
        for name, color in charts.KINDS.items()
        if name is not None
    }
    assert max(grown, key=grown.__getitem__) == kind
    assert grown[kind] > 50


def test_a_run_that_only_measures_is_a_point(tmp_path: Path) -> None:
    entry = row()
    only = replace(entry, history=[entry.history[0] | {"step": 0}])
    image = drawn(charts.curves, tmp_path / "a.png", [only])
    assert area(image, charts.COLORS[0]) > 50


def test_a_chart_as_svg_is_equal_for_equal_rows() -> None:
    blocks = table.blocks(MANY, CODE, ["train"], {})
    first, again = (drawing.as_svg(charts.curves(blocks)) for _ in range(2))
    assert first == again
    assert first.count("<svg") == 1


@pytest.mark.parametrize("draw", DRAW)
def test_a_dollar_sign_in_a_name_is_no_formula(draw, tmp_path: Path) -> None:
    drawn(draw, tmp_path / "a.png", [row("a$x{$", model="$^$")])
    assert (tmp_path / "a.png").stat().st_size


@pytest.mark.parametrize("draw", DRAW)
def test_a_long_title_stays_inside_the_figure(draw, tmp_path: Path) -> None:
    model = " ".join(["model"] * 20)
    long = row("new-train-with-a-name-of-forty-two-characters", model=model, uses_validation=True)
    image = drawn(draw, tmp_path / "a.png", [long])
    assert (image[:, -1, :3] == 1).all()
