"""The review of results as Markdown, for a comment on a pull request.

Much of its text comes from a stranger's branch. So it is in blocks of code and in cells without
special characters, where it is neither a link nor a mention of a person.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arcmix.ledger import markdown, repeat
from arcmix.ledger.provenance import Problem
from arcmix.ledger.records import Row
from arcmix.scoring import consistency

LONGEST = 60_000
"""Maximum number of characters; GitHub takes comments of up to 65536."""

LONGEST_BLOCK = 12_000
"""Maximum number of characters of one block of code."""

ROWS = {
    "row": "<",
    "change": "<",
    "loss per cell": ">",
    "best val loss": ">",
    "accuracy": ">",
    "selected_2": ">",
    "numbers": "<",
}
"""Columns of the table of rows -> their alignment (`markdown.table`)."""

VERDICTS = {"line": "<", "before": "<", "after": "<"}
"""Columns of the table of verdicts -> their alignment."""

UNPROVEN = f"""\
What git does not show, this review cannot prove: that the answers and the losses of a run gave the
numbers of its tasks and steps, and its {", ".join(f"`{name}`" for name in consistency.UNPROVEN)};
that `groups.csv`, `submission.json`, most of `scores.csv` and the pictures follow from the answers;
and, of a row that is not of the committed run, that the data and the adapter exist that it names.
With the data of a run in DVC's cache, the same command computes its numbers again."""


@dataclass(frozen=True)
class Change:
    """A row that a change adds or removes."""

    name: str
    """Name of the row."""
    what: str
    """What happened to it."""
    row: Row | None
    """The row; None if it was removed or cannot be read."""
    numbers: str
    """What was verified of its numbers."""


@dataclass(frozen=True)
class Review:
    """What a review found."""

    title: str
    """What was compared with what."""
    problems: Sequence[Problem]
    """Why the results are refused; none if they are not."""
    notes: Sequence[str]
    """What a reader should know."""
    changes: Sequence[Change]
    """The rows that were added and removed."""
    verdicts: Sequence[tuple[str, str, str]]
    """Lines of the table whose verdict changed (`verdicts`)."""
    metrics: str
    """The output of `dvc metrics diff`."""
    values: str
    """The output of `dvc params diff`."""


def verdicts(before: str, after: str) -> list[tuple[str, str, str]]:
    """Return the lines of the table whose verdict changed: its label, the old and the new one.

    Args:
        before: The table of the base as CSV; empty if there is none.
        after: The table of the commit.
    """
    old, new = _verdicts(before), _verdicts(after)
    names = dict.fromkeys([*new, *old])
    pairs = [(name, old.get(name, "-"), new.get(name, "-")) for name in names]
    return [line for line in pairs if line[1] != line[2]]


def _verdicts(text: str) -> dict[str, str]:
    lines = csv.DictReader(io.StringIO(text))
    return {line.get("label") or "": line.get("verdict") or "none" for line in lines}


def as_markdown(review: Review, present: Mapping[str, Any]) -> str:
    """Return a review as Markdown, at most `LONGEST` characters.

    Args:
        review: The review.
        present: The values of `params.yaml` with their defaults merged (`schema.resolve`).
    """
    parts = [f"## Review of results: {'refused' if review.problems else 'passed'}", review.title]
    if review.problems:
        listed = [f"{problem.place}: {problem.text}" for problem in review.problems]
        parts.append(fenced("\n\n".join(listed)))
    else:
        parts.append(
            "The committed results belong to the committed code and values, as far as git shows."
        )
    if review.notes:
        parts.append(fenced("\n".join(review.notes)))
    parts += ["### Rows of the ledger", _rows(review.changes)]
    rows = [one.row for one in review.changes if one.row is not None]
    if commands := dict.fromkeys(repeat.command(row, present) for row in rows):
        parts += ["To repeat the new rows:", fenced("\n".join(commands))]
    parts += ["### Verdicts", _table(VERDICTS, review.verdicts, "No verdict changed.")]
    parts += ["### `dvc metrics diff`", _output(review.metrics)]
    parts += ["### `dvc params diff`", _output(review.values)]
    parts += ["### Not proven here", UNPROVEN]
    text = "\n\n".join(parts) + "\n"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 30]}\n```\n\n(cut here)\n"


def fenced(text: str) -> str:
    """Return a text as a block of code that it cannot end."""
    if len(text) > LONGEST_BLOCK:
        text = f"{text[:LONGEST_BLOCK]}\n(cut here)"
    longest = max((len(found) for found in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _rows(changes: Sequence[Change]) -> str:
    lines = []
    for one in changes:
        found = one.row.metrics if one.row else {}
        names = ("answering_loss_per_cell", "best_val_loss", "accuracy", "selected_2")
        numbers = [f"{found[name]:.4f}" if name in found else "" for name in names]
        lines.append([one.name, one.what, *numbers, one.numbers])
    return _table(ROWS, lines, "No row was added or removed.")


def _table(columns: Mapping[str, str], lines: Sequence[Sequence[str]], none: str) -> str:
    if not lines:
        return none
    return markdown.table(columns, [[_cell(text) for text in line] for line in lines])


def _cell(text: str) -> str:
    """Return a text as code in a cell of a table, without what would end it; a number as it is."""
    if re.fullmatch("[0-9.]*", text):
        return text
    plain = re.sub(r"[`|\x00-\x1f]", "?", text)
    return f"`{plain}`"


def _output(text: str) -> str:
    return fenced(text.rstrip()) if text.strip() else "No difference."
