from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from arcmix.ledger import table
from arcmix.pages import figures, svg
from arcmix.pages.report import Entry
from arcmix.tasks import Pair
from tests.entries import CLOSE, FAR, entry
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
DRAW = [figures.bars, figures.curves]


def drawn(draw, path: Path, entries: list) -> np.ndarray:
    draw(path, table.blocks(entries, CODE, ["train"], {"0fe000000000": None}))
    return matplotlib.image.imread(path)


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
    assert drawn(figures.curves, tmp_path / "a.png", entries).size


def test_the_color_of_a_bar_shows_the_use_of_validation_demonstrations(tmp_path: Path) -> None:
    plain = drawn(figures.bars, tmp_path / "a.png", ONE)
    seen = drawn(figures.bars, tmp_path / "b.png", [row(loss=0.6, uses_validation=True)])
    orange = np.array([0xEE, 0x99, 0x55]) / 255
    areas = [
        np.isclose(image[..., :3], orange, atol=0.01).all(axis=-1).sum() for image in (plain, seen)
    ]
    assert areas[1] > 10 * areas[0]


def test_a_run_from_an_adapter_of_unknown_training_has_a_gray_bar(tmp_path: Path) -> None:
    plain = drawn(figures.bars, tmp_path / "a.png", ONE)
    start = {"adapter": "folder mine", "uses_validation_demonstrations": None}
    given = drawn(figures.bars, tmp_path / "b.png", [replace(row(), start=start)])
    gray, _ = figures.USES[None]
    assert area(given, gray) > 10 * area(plain, gray)


def test_a_run_that_only_measures_is_a_point(tmp_path: Path) -> None:
    entry = row()
    only = replace(entry, history=[entry.history[0] | {"step": 0}])
    image = drawn(figures.curves, tmp_path / "a.png", [only])
    assert area(image, figures.COLORS[0]) > 50


BLUE, RED = (np.full((2, 3), color, np.uint8) for color in (1, 2))


def answers(path: Path, best: list, worst: list) -> np.ndarray:
    figures.answers(path, best, worst)
    return matplotlib.image.imread(path)


def blue(*answers: np.ndarray | None) -> Entry:
    """Return a task with a black input, the blue output, and some answers."""
    found = entry("$a$", [*answers], truth=BLUE)
    shown = replace(found.task, test=(Pair(np.zeros((2, 3), np.uint8), BLUE),))
    return replace(found, task=shown)


def area(image: np.ndarray, color: str) -> int:
    """Return how many pixels have a color."""
    rgb = np.array([*bytes.fromhex(color.removeprefix("#"))]) / 255
    return int(np.isclose(image[..., :3], rgb, atol=0.01).all(axis=-1).sum())


def test_the_figure_of_answers_shows_every_task_of_both_parts(tmp_path: Path) -> None:
    grids = {color: np.full((2, 3), color, np.uint8) for color in range(1, 9)}
    shown = [entry(f"of-{color}", [grid], truth=grid) for color, grid in grids.items()]
    image = answers(tmp_path / "a.png", shown[:6], shown[6:])
    areas = [area(image, svg.PALETTE[color]) for color in grids]
    # Six tasks take two rows, so each task of both parts has the same room.
    assert min(areas) > 0.9 * max(areas) > 0


def test_the_figure_of_answers_shows_input_and_output_alone_of_a_task_without_answers(
    tmp_path: Path,
) -> None:
    answered = answers(tmp_path / "a.png", [blue(BLUE)], [])
    neither = answers(tmp_path / "b.png", [blue(None)], [])
    # Grids at other places differ by some pixels at their edges.
    plain = area(neither, svg.PALETTE[1])
    assert area(answered, svg.PALETTE[1]) == pytest.approx(2 * plain, rel=0.01)
    assert plain > 0


def test_the_figure_of_answers_shows_output_and_first_attempt(tmp_path: Path) -> None:
    image = answers(tmp_path / "a.png", [blue(RED, BLUE, RED)], [])
    crossed, plain = area(image, svg.PALETTE[2]), area(image, svg.PALETTE[1])
    # The crosses cover a part of each cell of the attempt.
    assert 0.6 * plain < crossed < plain
    right = answers(tmp_path / "b.png", [blue(BLUE)], [])
    assert area(right, svg.PALETTE[1]) == pytest.approx(2 * plain, rel=0.01)


def test_the_figure_of_answers_has_lines_between_cells(tmp_path: Path) -> None:
    image = answers(tmp_path / "a.png", [blue(BLUE)], [])
    distance = np.abs(image[..., :3] - [0, 0x74 / 255, 0xD9 / 255]).max(axis=-1)
    rows = (distance < 0.01).astype(int)
    # Two grids of three cells in a row: each cell is a run of blue pixels.
    assert np.count_nonzero(np.diff(rows, axis=1) == 1, axis=1).max() == 6


def test_equal_entries_give_equal_figures(tmp_path: Path) -> None:
    entries = [entry("a", [CLOSE])], [entry("b", [FAR])]
    answers(tmp_path / "a.png", *entries)
    answers(tmp_path / "b.png", *entries)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("draw", DRAW)
def test_a_dollar_sign_in_a_name_is_no_formula(draw, tmp_path: Path) -> None:
    drawn(draw, tmp_path / "a.png", [row("a$x{$", model="$^$")])
    assert (tmp_path / "a.png").stat().st_size
