from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from arcmix.pages import figures, svg
from arcmix.pages.report import Entry
from arcmix.tasks import Pair
from tests.entries import CLOSE, FAR, entry

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
