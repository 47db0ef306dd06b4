"""The numbers of a row, computed again from the tables that the row names.

The tables are in DVC's cache, so only a machine that has the data of a run can do this.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from arcmix import checked, files
from arcmix import tasks as task_table
from arcmix.ledger import store
from arcmix.ledger.provenance import Problem
from arcmix.ledger.records import Row
from arcmix.ledger.results import Results
from arcmix.prediction import candidates as candidate_table
from arcmix.prediction import scores as score_table
from arcmix.scoring import consistency, evaluation, submission
from arcmix.scoring import losses as loss_table
from arcmix.scoring.evaluation import Answers, Evaluation

TABLES = ("validation", "candidates", "scores", "losses", "answering-losses")
"""Names of the tables in a row's `data` that `computed` reads."""

SOURCE = "the tables of the run give"
"""What gives the expected numbers, in problems."""

ELSEWHERE = ("adapt_failed", "adapted_tasks", "train_loss")
"""Headline numbers that follow from the table of test-time fine-tuning and from the history."""


def tables(row: Row, repository: Path) -> dict[str, Path] | None:
    """Return name -> path of the tables of a row in DVC's cache; None if one is not there.

    Args:
        row: The row.
        repository: Root of the repository.
    """
    found = {name: store.cached(repository, row.data.get(name, "")) for name in TABLES}
    held = {name: path for name, path in found.items() if path is not None}
    return held if len(held) == len(TABLES) else None


def problems(
    place: str, row: Row, tables: Mapping[str, Path], results: Results | None
) -> list[Problem]:
    """Return where a row, or the results of its run, contradict its tables.

    The audit is not in a row, so its numbers of clean tasks are verified with results alone.

    Args:
        place: The path of the row.
        row: The row.
        tables: Name of each of `TABLES` -> its path.
        results: The results of the committed run, which may be that of the row.
    """
    own = results if results is not None and results.metrics == row.metrics else None
    try:
        answers, found = _computed(row, tables, own)
    except ValueError as error:
        return [Problem(place, str(error))]
    expected = {name: value for name, value in found.headline.items() if name not in ELSEWHERE}
    if own is None:
        expected = {name: one for name, one in expected.items() if not name.startswith("clean_")}
    texts = consistency.contradictions(row.metrics, expected, SOURCE)
    for values in found.tasks.to_dict("records"):
        wanted = {str(name): one for name, one in values.items() if pd.notna(one)}
        task = wanted.pop("task")
        known = row.tasks.get(str(task), {})
        texts += [
            f"task {task}: {text}" for text in consistency.contradictions(known, wanted, SOURCE)
        ]
    made = {}
    if own is not None:
        made = {
            own.places.scores: files.csv_text(found.scores),
            own.places.groups: files.csv_text(found.groups),
            own.places.answers: submission.text(answers.selected()),
        }
    return [Problem(place, text) for text in texts] + [
        Problem(str(path), f"is not what {SOURCE}; {evaluation.REMEDY}")
        for path, text in made.items()
        if checked.read_text(path, evaluation.REMEDY) != text
    ]


def _computed(
    row: Row, tables: Mapping[str, Path], own: Results | None
) -> tuple[Answers, Evaluation]:
    """Return the answers of a row and their numbers, computed from its tables."""
    asked = task_table.read(tables["validation"])
    truths = evaluation.truths(asked)
    views = row.settings["scale"]["predict"]["views"]
    found = candidate_table.read(tables["candidates"], [*truths], views)
    scored = score_table.read(tables["scores"], found)
    answers = Answers(asked, found, scored, row.settings["selection"])
    prompts = loss_table.read(tables["losses"], truths)
    answering = loss_table.read_answering(tables["answering-losses"], truths, prompts[0])
    seen = own.seen if own is not None else ()
    return answers, evaluation.evaluate(answers, prompts, answering, None, {}, seen)
