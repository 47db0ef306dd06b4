"""The grid of numbers of training tasks and examples of each: do different tasks matter more?

All runs of a grid have the same budget. So a run with twice as many tasks sees each half as often,
and so does one with twice as many examples of each task.
"""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from arcmix.ledger import markdown, subsets
from arcmix.ledger.records import Row
from arcmix.ledger.subsets import Amount, Axis, Cell
from arcmix.ledger.verdicts import LOSS
from arcmix.stats import cells, scaling
from arcmix.stats.differences import LEVEL, Difference

UNEQUAL = 1.1
"""Largest ratio of the answer tokens of two cells that counts as equal exposure."""


@dataclass(frozen=True)
class Loss:
    """The loss of a cell."""

    mean: float
    """The mean over its runs, in nats per cell of a grid."""
    sd: float | None
    """The standard deviation over its runs; None for one run."""
    seeds: int
    """Number of runs."""
    answer_tokens: float
    """Answer tokens that a run was trained on, the mean over its runs."""


@dataclass(frozen=True)
class Grid:
    """The losses by the number of training tasks and of examples of each."""

    label: str
    """The label of the design (`subsets.Design`)."""
    axis: Axis
    """The setting of the columns."""
    tasks: tuple[int, ...]
    """Numbers of training tasks, ascending: the rows."""
    amounts: tuple[Amount, ...]
    """Values of the setting, ascending, `all` last: the columns."""
    losses: dict[tuple[int, Amount], Loss]
    """(tasks, amount) -> the loss of the cell; a cell without a run is missing."""
    contrast: Difference | None
    """Change of the loss by a doubling of the tasks, minus that by a doubling of the amount;
    negative where more tasks help more. None where the grid is too small."""
    text: str
    """What the contrast says."""

    @property
    def means(self) -> np.ndarray:
        """The means for a heat map, float (tasks, amounts), NaN without a run."""
        found = np.full((len(self.tasks), len(self.amounts)), np.nan)
        for (tasks, amount), loss in self.losses.items():
            found[self.tasks.index(tasks), self.amounts.index(amount)] = loss.mean
        return found


def grids(rows: Iterable[Row], axis: Axis = "examples") -> list[Grid]:
    """Return the grid of each design that varies the tasks and the examples of one component.

    Args:
        rows: Rows of the ledger that were made by the same code.
        axis: The setting of the columns.
    """
    return [_grid(one, axis) for one in subsets.designs(rows, axis)]


def _grid(design: subsets.Design, axis: Axis) -> Grid:
    tasks = tuple(dict.fromkeys(cell.tasks for cell in design.cells))
    last: tuple[Amount, ...] = ("all",) if any(c.amount == "all" for c in design.cells) else ()
    amounts = (*_numbers(design.cells), *last)
    losses: dict[tuple[int, Amount], Loss] = {
        (cell.tasks, cell.amount): _loss(cell) for cell in design.cells
    }
    contrast, text = _contrast(design, axis)
    return Grid(design.label, axis, tasks, amounts, losses, contrast, text)


def _numbers(found: Iterable[Cell]) -> list[int]:
    """Return the amounts that are numbers, ascending."""
    return sorted({cell.amount for cell in found if cell.amount != "all"})


def _loss(cell: Cell) -> Loss:
    runs = [row.metrics[LOSS] for row in cell.rows]
    return Loss(
        mean=statistics.fmean(runs),
        sd=statistics.stdev(runs) if len(runs) > 1 else None,
        seeds=len(runs),
        answer_tokens=statistics.fmean(row.history[-1]["answer_tokens"] for row in cell.rows),
    )


def _contrast(design: subsets.Design, axis: Axis) -> tuple[Difference | None, str]:
    """Return the contrast and what it says."""
    numbered = [cell for cell in design.cells if cell.amount != "all"]
    tasks = sorted({cell.tasks for cell in numbered})
    amounts = _numbers(numbered)
    whole = len(numbered) == len(tasks) * len(amounts)
    if len(tasks) < 2 or len(amounts) < 2 or not whole:
        return None, (
            f"cannot tell: {len(numbered)} cells with {len(tasks)} numbers of tasks and"
            f" {len(amounts)} numbers of {axis}; run each number of tasks with each number of"
            f" {axis}, at least 2 of both"
        )
    try:
        measured = cells.cells(subsets.values(numbered, LOSS))
    except ValueError as error:
        return None, f"cannot tell: {error}"
    # The cells are ordered by tasks, then by amount.
    of_tasks = np.repeat(scaling.slope_weights(tasks), len(amounts)) / len(amounts)
    of_amounts = np.tile(scaling.slope_weights(amounts), len(tasks)) / len(tasks)
    found = measured.contrast(of_tasks - of_amounts)
    exposures = [_loss(cell).answer_tokens for cell in numbered]
    return found, _text(found, axis) + _exposure(min(exposures), max(exposures))


def _text(found: Difference, axis: Axis) -> str:
    size = f"{abs(found.mean):.3f} ± {found.half_width():.3f}"
    more = "twice as many tasks" if found.mean < 0 else f"twice as many {axis}"
    other = f"twice as many {axis}" if found.mean < 0 else "twice as many tasks"
    change = f"the loss with {more} is {size} lower than with {other}"
    if found.p_value() < LEVEL:
        kind = "different tasks" if found.mean < 0 else f"more {axis}"
        return f"{kind} matter more: {change}"
    return f"cannot tell: {change}; a difference of {found.detectable():.3f} would have shown"


def _exposure(least: float, most: float) -> str:
    if most <= UNEQUAL * least:
        return ""
    return (
        f"; the exposure is not equal: {least:.0f} to {most:.0f} answer tokens, so set"
        " finetune.unit to answer_tokens"
    )


def as_markdown(grid: Grid) -> str:
    """Return the grid as a table in Markdown: mean ± standard deviation over seeds (their number).

    The text stands below.
    """
    names = {"tasks": ">"} | {f"{grid.axis} {amount}": ">" for amount in grid.amounts}
    rows = [
        [str(tasks), *(_cell(grid.losses.get((tasks, amount))) for amount in grid.amounts)]
        for tasks in grid.tasks
    ]
    return f"{markdown.table(names, rows)}\n\n{grid.text}\n"


def _cell(loss: Loss | None) -> str:
    if loss is None:
        return ""
    spread = "" if loss.sd is None else f" ± {loss.sd:.4f}"
    return f"{loss.mean:.4f}{spread} ({loss.seeds})"
