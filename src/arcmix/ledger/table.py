"""The ablation table: means and standard deviations of the ledger's rows over seeds.

A line is the repeats of one experiment, that is, rows with the same fingerprint, which differ in
the seed alone. A block is the lines that can be compared: they have the same settings, were made by
the present code, and either all of them saw validation demonstrations or none did. The last block
holds the stale rows, which other code made.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from arcmix.fingerprints import LENGTH
from arcmix.ledger import comparison, differences, form, verdicts
from arcmix.ledger.differences import SHORT
from arcmix.ledger.records import Row
from arcmix.ledger.verdicts import Verdict

STALE = "Stale: recorded by other code"
"""Title of the block of stale rows."""

UNTRAINED = "untrained"
"""Stands for the dataset of a run that only measured (`Row.trained`)."""

USES = {
    False: "",
    True: ", with validation demonstrations",
    None: ", with unknown training data",
}
"""Whether lines saw validation demonstrations (`Line.uses_validation`) -> end of the title of their
block."""

CSV_COLUMNS = (
    "dataset",
    "start",
    "label",
    "model",
    "scale",
    "fingerprint",
    "stale",
    "tasks",
    "variations",
    "best_val_loss",
    "best_val_loss_sd",
    "best_val_loss_low",
    "best_val_loss_high",
    "best_val_step",
    "last_val_loss",
    "last_val_loss_sd",
    "answering_val_loss",
    "answering_val_loss_sd",
    "answering_loss_per_cell",
    "answering_loss_per_cell_sd",
    "baseline_difference",
    "baseline_difference_low",
    "baseline_difference_high",
    "baseline_p_value",
    "verdict",
    "samples",
    "epochs",
    "answer_tokens",
    "accuracy",
    "accuracy_sd",
    "pass_n",
    "pass_n_sd",
    "selected_2",
    "selected_2_sd",
    "seeds",
    "mixed",
    "uses_validation_demonstrations",
    "converged",
)
"""Columns of the table as CSV."""


@dataclass(frozen=True)
class Line:
    """The repeats of one experiment."""

    label: str
    """Name of the dataset, or `UNTRAINED`, and of the adapter that the run started from. Where
    this is ambiguous, the values follow in which the line differs from others of its name."""
    rows: tuple[Row, ...]
    """The runs, ordered by seed."""
    verdict: Verdict | None = None
    """The comparison with the baseline of the block; None for a stale line."""

    @property
    def title(self) -> str:
        """`MODEL at SCALE on SOURCE PART`, where SOURCE PART is the validation tasks."""
        return _title(self.rows[0])

    @property
    def exposure(self) -> dict[str, float]:
        """Samples, epochs and answer tokens that a run trained on, means over the seeds."""
        last = [row.history[-1] for row in self.rows]
        names = ("samples", "epochs", "answer_tokens")
        return {name: statistics.fmean(entry[name] for entry in last) for name in names}

    def mean(self, metric: str) -> float:
        """Return the mean of a metric over the seeds."""
        return statistics.fmean(self.values(metric))

    def sd(self, metric: str) -> float | None:
        """Return the sample standard deviation of a metric; None for a single seed."""
        values = self.values(metric)
        return statistics.stdev(values) if len(values) > 1 else None

    def values(self, metric: str) -> list[float]:
        """Return the value of a metric for each run, ordered by seed."""
        return [row.metrics[metric] for row in self.rows]

    @property
    def uses_validation(self) -> bool | None:
        """Whether training used validation demonstrations, in any stage or at test time.

        None if this is unknown (`Row.saw_validation`).
        """
        first = self.rows[0]
        return True if first.metrics.get("adapted_tasks") else first.saw_validation

    @property
    def mixed(self) -> list[str]:
        """What differs between the machines of the runs (`comparison.mixed`); empty if nothing."""
        return comparison.mixed(self.rows)

    @property
    def converged(self) -> bool:
        """Whether the best step of every run is before its last step."""
        return all(row.metrics["best_val_step"] < row.history[-1]["step"] for row in self.rows)


@dataclass(frozen=True)
class Block:
    """Lines that can be compared, or all stale lines."""

    title: str
    """The title of its lines, or `STALE`. Where this is ambiguous, the settings follow in which the
    block differs from the others of its title."""
    lines: tuple[Line, ...]
    """The lines, by ascending best validation loss."""
    stale: bool
    """Whether the rows were made by other code than the present one."""

    @property
    def baseline(self) -> Line | None:
        """The line with which the others are compared, if there is one."""
        return next((line for line in self.lines if line.verdict == verdicts.BASELINE), None)


def blocks(rows: Iterable[Row], code: str, baselines: Sequence[str]) -> list[Block]:
    """Return the blocks of the table; the stale block is the last.

    Args:
        rows: The rows of the ledger.
        code: Fingerprint of the present code.
        baselines: Names of datasets; the first one that a block has is its baseline.
    """
    groups = defaultdict(list)
    stale = []
    for row in rows:
        if row.code == code:
            groups[row.model, row.scale, row.settings_fingerprint].append(row)
        else:
            stale.append(row)
    ordered = [groups[key] for key in sorted(groups)]
    apart = differences.apart([members[0] for members in ordered], _title, differences.of_settings)
    found = []
    for members, text in zip(ordered, apart, strict=True):
        lines = _lines(members)
        for uses, ending in USES.items():
            own = [line for line in lines if line.uses_validation is uses]
            if own:
                title = f"{_title(members[0])}{text}{ending}"
                found.append(Block(title, _judged(own, baselines), stale=False))
    if stale:
        found.append(Block(STALE, _lines(stale), stale=True))
    return found


def _judged(lines: Sequence[Line], baselines: Sequence[str]) -> tuple[Line, ...]:
    """Return lines with their verdicts."""
    judged = verdicts.verdicts(
        [line.rows for line in lines], [_name(line.rows[0]) for line in lines], baselines
    )
    return tuple(replace(line, verdict=one) for line, one in zip(lines, judged, strict=True))


def _title(row: Row) -> str:
    measured = row.settings["measure"]
    return f"{row.model} at {row.scale} on {measured['source']} {measured['part']}"


def _lines(rows: Iterable[Row]) -> tuple[Line, ...]:
    repeats = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.seed):
        repeats[row.dataset, row.fingerprint].append(row)
    ordered = [repeats[key] for key in sorted(repeats)]
    apart = differences.apart([members[0] for members in ordered], _full_name, differences.of_runs)
    lines = [
        Line(_name(members[0]) + text, tuple(members))
        for members, text in zip(ordered, apart, strict=True)
    ]
    return tuple(sorted(lines, key=lambda line: (line.mean("best_val_loss"), line.label)))


def _name(row: Row) -> str:
    """Return the name of the dataset, and of the adapter that the run started from."""
    dataset = row.dataset if row.trained else UNTRAINED
    match row.start["adapter"]:
        case "none":
            return dataset
        case str(folder) if folder.startswith(form.FOLDER):
            return f"{dataset} ← {folder}"
        case reference:
            return f"{dataset} ← {reference[: SHORT - LENGTH]}"


def _full_name(row: Row) -> str:
    return f"{_name(row)}, {_title(row)}"


def as_frame(blocks: Sequence[Block]) -> pd.DataFrame:
    """Return the table for CSV and `dvc plots`, with a row for each line.

    Scores are fractions. `low` and `high` are the mean minus and plus the standard deviation.
    `label` is unique, and does not depend on lines of other names, so that `dvc plots diff` finds
    a line in both tables.
    """
    records = []
    for block in blocks:
        for line in block.lines:
            title = f"{line.title}, stale" if block.stale else block.title
            numbers = _numbers(line)
            numbers |= {"label": f"{line.label}, {title}", "stale": int(block.stale)}
            records.append(numbers)
    return pd.DataFrame(records, columns=CSV_COLUMNS)


def _numbers(line: Line) -> dict[str, str | float | None]:
    first = line.rows[0]
    best, sd = line.mean("best_val_loss"), line.sd("best_val_loss")
    return {
        "dataset": first.dataset,
        "start": first.start["adapter"],
        "model": first.model,
        "scale": first.scale,
        "fingerprint": first.fingerprint,
        "tasks": drawn(first, "tasks"),
        "variations": drawn(first, "entries"),
        "best_val_loss": best,
        "best_val_loss_sd": sd,
        "best_val_loss_low": best - (sd or 0),
        "best_val_loss_high": best + (sd or 0),
        "best_val_step": line.mean("best_val_step"),
        "last_val_loss": line.mean("val_loss"),
        "last_val_loss_sd": line.sd("val_loss"),
        "answering_val_loss": line.mean("answering_val_loss"),
        "answering_val_loss_sd": line.sd("answering_val_loss"),
        "answering_loss_per_cell": line.mean("answering_loss_per_cell"),
        "answering_loss_per_cell_sd": line.sd("answering_loss_per_cell"),
        **_compared(line.verdict),
        **line.exposure,
        "accuracy": line.mean("accuracy"),
        "accuracy_sd": line.sd("accuracy"),
        "pass_n": line.mean("pass_n"),
        "pass_n_sd": line.sd("pass_n"),
        "selected_2": line.mean("selected_2"),
        "selected_2_sd": line.sd("selected_2"),
        "seeds": len(line.rows),
        "mixed": " ".join(line.mixed) or "no",
        "uses_validation_demonstrations": {None: "unknown", True: 1, False: 0}[
            line.uses_validation
        ],
        "converged": int(line.converged),
    }


def _compared(verdict: Verdict | None) -> dict[str, str | float | None]:
    """Return the comparison of a line with its baseline; without one, empty cells."""
    if verdict is None:
        return {}
    values = {"verdict": verdict.text, "baseline_p_value": verdict.p_value}
    if (found := verdict.difference) is not None:
        values |= {
            "baseline_difference": found.mean,
            "baseline_difference_low": found.mean - found.half_width(),
            "baseline_difference_high": found.mean + found.half_width(),
        }
    return values


def drawn(row: Row, what: str) -> int:
    """Return a count of the dataset that the run trained on."""
    return row.mix[what] if row.trained else 0
