"""The runs made here against the rows of the ledger, which other machines may have made."""

from collections.abc import Mapping, Sequence

from arcmix import machines
from arcmix.ledger import markdown, records
from arcmix.ledger.records import METRICS, Row
from arcmix.machines import Machine

COLUMNS = {"run": "<", "metric": "<", "ledger": ">", "own": ">", "difference": ">"}
"""Columns of the table -> their alignment (`markdown.table`)."""


def changed(first: Row, second: Row) -> list[str]:
    """Return the metrics in which two rows differ, those of the table first."""
    return differing(first.metrics, second.metrics)


def differing(first: Mapping[str, float], second: Mapping[str, float]) -> list[str]:
    """Return the names of metrics with other values, those of the table first."""
    names = [*METRICS, *sorted({*first, *second} - {*METRICS})]
    return [name for name in names if first.get(name) != second.get(name)]


def unpinned(rows: Sequence[Row]) -> str:
    """Return a sentence on the sources whose content was not pinned, empty if there are none."""
    parts = [part for row in rows for part in row.mix["components"]]
    names = sorted({part["table"] for part in parts if not part.get("pinned", True)})
    if not names:
        return ""
    return (
        f"Not pinned: {', '.join(names)}. The files of these sources are not verified, so another"
        f" machine may have others; to pin them: make pin SOURCE={names[0]}."
    )


def described(row: Row) -> str:
    """Return the machines of a row in words, each once."""
    return "; ".join(dict.fromkeys(str(machine) for machine in _machines(row).values()))


def mixed(rows: Sequence[Row]) -> list[str]:
    """Return the fields in which the machines of a stage differ (`machines.Machine`).

    Args:
        rows: One row or more.
    """
    stages: dict[str, list[Machine]] = {}
    for row in rows:
        for stage, machine in _machines(row).items():
            stages.setdefault(stage, []).append(machine)
    found = (name for made in stages.values() for name in machines.differences(made))
    return [*dict.fromkeys(found)]


def _machines(row: Row) -> dict[str, Machine]:
    return {stage: Machine(**fields) for stage, fields in row.machines.items()}


def sentence(kept: Row, own: Row) -> str:
    """Return in words how a run differs from the row of the ledger."""
    names = changed(kept, own)
    shown = "its losses by step or by task"
    if names:
        first = names[0]
        shown = f"{first} is {kept.metrics.get(first)}, here {own.metrics.get(first)}"
        shown += f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return (
        f"kept {kept.name} of the ledger, because this run has other numbers: {shown}. The ledger's"
        f" run: {described(kept)}. This run: {described(own)}. To replace the"
        " row, remove its file, then run: dvc repro"
    )


def as_markdown(ledger: Sequence[Row], own: Sequence[Row]) -> str:
    """Return how the runs made here differ from the rows of the ledger, as Markdown.

    Args:
        ledger: The rows of the ledger.
        own: The rows of the runs that were made here.
    """
    made = {row.name: row for row in own}
    pairs = [(row, made[row.name]) for row in ledger if row.name in made]
    other = [(row, mine) for row, mine in pairs if not records.equal(row, mine)]
    parts = [f"{len(pairs) - len(other)} of {len(pairs)} runs made here equal those of the ledger."]
    if other:
        rows = [
            [row.name, name, *_numbers(row.metrics[name], mine.metrics[name])]
            for row, mine in other
            for name in METRICS
            if row.metrics[name] != mine.metrics[name]
        ]
        parts.append(markdown.table(COLUMNS, rows))
        parts += [_reason(row, mine) for row, mine in other]
    return "\n\n".join(parts) + "\n"


def _numbers(published: float, own: float) -> list[str]:
    return [f"{published:.4f}", f"{own:.4f}", f"{own - published:+.4f}"]


def _reason(row: Row, own: Row) -> str:
    fields = mixed([row, own])
    reason = f"the machines differ in {', '.join(fields)}" if fields else "the machines are alike"
    return f"{row.name}: {reason}. Ledger: {described(row)}. Own: {described(own)}."
