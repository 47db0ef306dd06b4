"""The report: an HTML page of a run's answers to each validation task.

The distinct answers to a test are ranked, and the first two are its attempts. The page holds all
grids as digits, and its script `report.js` draws a task when it scrolls into view.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arcmix.pages import svg, templates
from arcmix.prediction.selection import Candidate, Choice, Scores, ranked
from arcmix.prediction.tables import Test
from arcmix.scoring.metrics import ATTEMPTS, HEADLINE, correct_share, solves
from arcmix.tasks import Task

LOSSES = ("val_loss", "best_val_loss", "answering_val_loss")
"""Losses in the header of the page."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """The ranked answers to a test."""

    answers: tuple[Choice, ...]
    """The distinct answers, the best first."""
    asked: int
    """Number of candidates, those without a grid included."""
    scores: Scores
    """The scores of the answers that were rescored."""

    @property
    def attempts(self) -> tuple[Choice, ...]:
        """The first `ATTEMPTS` answers."""
        return self.answers[:ATTEMPTS]

    def solves(self, truth: np.ndarray) -> bool:
        """Return whether one of the attempts equals the truth, uint8 (height, width)."""
        return solves([answer.grid for answer in self.attempts], truth)


@dataclass(frozen=True, eq=False)
class Entry:
    """A task in the report."""

    task: Task
    rankings: tuple[Ranking, ...]
    """The ranked answers to each test of the task."""
    loss: float | None
    """The validation loss of the task, in nats per answer token; None if its prompts are too
    long."""

    @property
    def score(self) -> float:
        """Share of the tests that are solved."""
        solved = [
            found.solves(pair.output)
            for pair, found in zip(self.task.test, self.rankings, strict=True)
        ]
        return sum(solved) / len(solved)

    @property
    def pixels(self) -> float:
        """Share of right cells in the first attempt, as a mean over the tests."""
        shares = [
            correct_share(found.answers[0].grid, pair.output) if found.answers else 0.0
            for pair, found in zip(self.task.test, self.rankings, strict=True)
        ]
        return math.fsum(shares) / len(shares)

    @property
    def sized(self) -> float:
        """Share of the tests whose first attempt has the right size."""
        fit = [
            bool(found.answers) and found.answers[0].grid.shape == pair.output.shape
            for pair, found in zip(self.task.test, self.rankings, strict=True)
        ]
        return sum(fit) / len(fit)

    @property
    def votes(self) -> float:
        """Number of votes for the first attempt, as a mean over the tests."""
        votes = [len(found.answers[0].votes) if found.answers else 0 for found in self.rankings]
        return sum(votes) / len(votes)

    @property
    def status(self) -> str:
        """`solved` if all tests are solved, `partly` if some are, `unsolved` if none is.

        `unanswered` if no test has an answer.
        """
        if not any(found.answers for found in self.rankings):
            return "unanswered"
        return {0.0: "unsolved", 1.0: "solved"}.get(self.score, "partly")


def entries(
    tasks: Sequence[Task],
    candidates: Mapping[Test, Sequence[Candidate]],
    scores: Mapping[Test, Scores],
    selection: str,
    losses: Mapping[str, float],
) -> list[Entry]:
    """Return the entries of tasks, in the order of the tasks.

    Args:
        tasks: The tasks.
        candidates: The candidates of each test.
        scores: The scores of the distinct grids of each test.
        selection: The rule that ranks the grids of a test.
        losses: Task -> its validation loss; tasks whose prompts are too long are missing.
    """
    found = []
    for task in tasks:
        tests = [(task.id, number) for number in range(len(task.test))]
        rankings = [
            Ranking(
                tuple(ranked(selection, candidates[test], scores[test])),
                len(candidates[test]),
                scores[test],
            )
            for test in tests
        ]
        found.append(Entry(task, tuple(rankings), losses.get(task.id)))
    return found


def best_first(entries: Iterable[Entry]) -> list[Entry]:
    """Return tasks in order, the best first.

    The best task has the most solved tests; among equals, the most right cells in its first
    attempts, so that near misses come before wrong sizes; then the most attempts of the right size,
    any answer, the lowest validation loss, and the first id.
    """

    def rank(entry: Entry) -> tuple[float | bool | str, ...]:
        loss = math.inf if entry.loss is None else entry.loss
        unanswered = entry.status == "unanswered"
        return -entry.score, -entry.pixels, -entry.sized, unanswered, loss, entry.task.id

    return sorted(entries, key=rank)


def extremes(entries: Iterable[Entry], count: int) -> tuple[list[Entry], list[Entry]]:
    """Return the best tasks, the best first, and the worst tasks, the worst first.

    No task is in both lists.

    Args:
        entries: All tasks.
        count: Limit on the length of each list. If there are not enough tasks, each list has half
            of them.
    """
    ranked = best_first(entries)
    half = (len(ranked) + 1) // 2
    return ranked[:half][:count], ranked[half:][::-1][:count]


def scores(headline: Mapping[str, float]) -> dict[str, str]:
    """Return the headline numbers of a run as texts, with the intervals of scores.

    Args:
        headline: Name -> number, as in metrics.json.
    """
    found = {}
    for name in HEADLINE:
        mean, low, high = (headline[f"{name}{end}"] for end in ("", "_low", "_high"))
        found[name] = f"{mean:.3f} ({low:.3f} to {high:.3f})"
    return found | {name: f"{headline[name]:.4f}" for name in LOSSES if name in headline}


def settings(values: Mapping[str, Any]) -> dict[str, str]:
    """Return nested values as texts, with names that are joined by dots.

    Args:
        values: Name -> a map of the same kind, or a plain value.
    """
    found = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": text for inner, text in settings(value).items()}
        else:
            found[name] = ", ".join(map(str, value)) if isinstance(value, tuple) else _text(value)
    return found


def _text(value: object) -> str:
    """Return a value as `params.yaml` states it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def page(
    title: str,
    lead: str,
    entries: Sequence[Entry],
    scores: Mapping[str, str],
    settings: Mapping[str, str],
) -> str:
    """Return the HTML of the report; equal arguments give equal texts.

    Args:
        title: Title of the page.
        lead: The first paragraph, as plain text.
        entries: All tasks.
        scores: Name of a number of the run -> its text.
        settings: Name of a setting of the run -> its text.
    """
    return templates.render(
        "report.html",
        title=title,
        lead=lead,
        palette=svg.PALETTE,
        scores=scores,
        settings=settings,
        data={"attempts": ATTEMPTS, "tasks": [_entry(entry) for entry in entries]},
    )


def _entry(entry: Entry) -> dict[str, Any]:
    """Return a task as JSON for `report.js`."""
    task = entry.task
    return {
        "id": task.id,
        "status": entry.status,
        "score": entry.score,
        "pixels": _rounded(entry.pixels),
        "votes": _rounded(entry.votes),
        "loss": None if entry.loss is None else _rounded(entry.loss),
        "cells": task.cells,
        "train": [[_digits(pair.input), _digits(pair.output)] for pair in task.train],
        "tests": [
            {
                "input": _digits(pair.input),
                "truth": _digits(pair.output),
                "asked": found.asked,
                "answers": [_answer(one, found.scores, pair.output) for one in found.answers],
            }
            for pair, found in zip(task.test, entry.rankings, strict=True)
        ],
    }


def _answer(answer: Choice, scores: Scores, truth: np.ndarray) -> list[Any]:
    """Return an answer as JSON for `report.js`; rows that equal those of the truth are empty."""
    expected = dict(enumerate(_rows(truth)))
    rows = ["" if row == expected.get(y) else row for y, row in enumerate(_rows(answer.grid))]
    score = scores.get(answer.number)
    rescored = None if score is None else _rounded(score)
    return ["/".join(rows), len(answer.votes), _rounded(answer.confidence), rescored]


def _digits(grid: np.ndarray) -> str:
    return "/".join(_rows(grid))


def _rows(grid: np.ndarray) -> list[str]:
    return ["".join(map(str, row)) for row in grid.tolist()]


def _rounded(value: float) -> float:
    return round(value, 4)
