"""The ablation table: means and standard deviations of the ledger's rows over seeds.

A line is the repeats of one experiment, that is, rows with the same fingerprint, which differ in
the seed alone. A block is the lines that can be compared: they have the same settings and were made
by the present code. The last block holds the stale rows, which other code made.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from arcmix.fingerprints import LENGTH
from arcmix.ledger import comparison, differences, form, markdown
from arcmix.ledger.differences import SHORT
from arcmix.ledger.records import Row

STALE = "Stale: recorded by other code"
"""Title of the block of stale rows."""

UNTRAINED = "untrained"
"""Stands for the dataset of a run that only measured (`Row.trained`)."""

LEGEND = """\
A row sums up the runs of one dataset: the mean over its seeds ± the standard deviation. Losses are
in nats per answer token. Scores are percentages of the validation tasks, which the heading names;
brackets hold the 95 % interval over these tasks. `best val step` is the step of the lowest
validation loss, `answering val loss` the loss of the models that answer: after test-time
fine-tuning, if there is any. A row has converged if the best step is not the last one in any of its
runs. A dataset that uses validation demonstrations was trained on the solved pairs of the
validation tasks, though not on their tests: compare it with others of its kind. A row is `mixed` if
its runs were made on other hardware, with other numbers of threads or ranks, or with other versions
of libraries; it names what differs. Such runs may differ though their seeds do not, so their mean
is not one over seeds alone. `A ← B/0-123` is a second stage of training: on A, from the adapter of
the run B/0-123 of the ledger, `A ← folder B` one from an adapter that was not made here.
`untrained` is a model that is measured as it is. Where several lines have one name, or several
tables one title, the values follow in which they differ."""
"""Explanation of the columns in the Markdown file."""

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

COLUMNS = {
    "tasks": ">",
    "variations": ">",
    "best val loss": ">",
    "best val step": ">",
    "last val loss": ">",
    "answering val loss": ">",
    "accuracy": ">",
    "pass_n": ">",
    "seeds": ">",
    "mixed": "<",
    "uses validation demonstrations": "<",
    "converged": "<",
}
"""Columns of a block's table after the names -> their alignment (`markdown.table`)."""

RUN_COLUMNS = {
    "seed": ">",
    "best val loss": ">",
    "best val step": ">",
    "last val loss": ">",
    "answering val loss": ">",
    "accuracy": ">",
    "pass_n": ">",
    "selected_2": ">",
    "machine": ">",
}
"""Columns of the table of single runs after the names -> their alignment (`markdown.table`)."""


@dataclass(frozen=True)
class Line:
    """The repeats of one experiment."""

    label: str
    """Name of the dataset, or `UNTRAINED`, and of the adapter that the run started from. Where
    this is ambiguous, the values follow in which the line differs from others of its name."""
    rows: tuple[Row, ...]
    """The runs, ordered by seed."""

    @property
    def title(self) -> str:
        """`MODEL at SCALE on SOURCE PART`, where SOURCE PART is the validation tasks."""
        return _title(self.rows[0])

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


def blocks(rows: Iterable[Row], code: str) -> list[Block]:
    """Return the blocks of the table; the stale block is the last.

    Args:
        rows: The rows of the ledger.
        code: Fingerprint of the present code.
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
    found = [
        Block(_title(members[0]) + text, _lines(members), stale=False)
        for members, text in zip(ordered, apart, strict=True)
    ]
    if stale:
        found.append(Block(STALE, _lines(stale), stale=True))
    return found


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
        "tasks": _drawn(first, "tasks"),
        "variations": _drawn(first, "entries"),
        "best_val_loss": best,
        "best_val_loss_sd": sd,
        "best_val_loss_low": best - (sd or 0),
        "best_val_loss_high": best + (sd or 0),
        "best_val_step": line.mean("best_val_step"),
        "last_val_loss": line.mean("val_loss"),
        "last_val_loss_sd": line.sd("val_loss"),
        "answering_val_loss": line.mean("answering_val_loss"),
        "answering_val_loss_sd": line.sd("answering_val_loss"),
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


def _drawn(row: Row, what: str) -> int:
    """Return a count of the dataset that the run trained on."""
    return row.mix[what] if row.trained else 0


def as_markdown(blocks: Sequence[Block]) -> str:
    """Return the table as Markdown: for each block, its lines and its single runs."""
    parts = []
    rows = [row for block in blocks for line in block.lines for row in line.rows]
    machines = [*dict.fromkeys(map(comparison.described, rows))]
    for block in blocks:
        parts.append(f"### {block.title}")
        parts.append(_summary(block))
        parts.append("Single runs:")
        parts.append(_runs(block, machines))
    listed = "\n".join(f"{number}. {machine}" for number, machine in enumerate(machines, 1))
    notes = [*filter(None, [comparison.unpinned(rows)]), LEGEND]
    return "\n\n".join([*parts, *notes, "Machines:", listed]) + "\n"


def _summary(block: Block) -> str:
    names = {"dataset": "<"} | _where(block)
    rows = []
    for line in block.lines:
        steps = sorted({int(step) for step in line.values("best_val_step")})
        rows.append(
            [
                line.label,
                *([line.title] if block.stale else []),
                str(_drawn(line.rows[0], "tasks")),
                str(_drawn(line.rows[0], "entries")),
                loss(line.mean("best_val_loss"), line.sd("best_val_loss")),
                str(steps[0]) if len(steps) == 1 else f"{steps[0]}-{steps[-1]}",
                loss(line.mean("val_loss"), line.sd("val_loss")),
                loss(line.mean("answering_val_loss"), line.sd("answering_val_loss")),
                _percent(line.mean("accuracy"), line.sd("accuracy")),
                _percent(line.mean("pass_n"), line.sd("pass_n")),
                str(len(line.rows)),
                ", ".join(line.mixed) or "no",
                {None: "unknown", True: "yes", False: "no"}[line.uses_validation],
                "yes" if line.converged else "no",
            ]
        )
    return markdown.table(names | COLUMNS, rows)


def _runs(block: Block, machines: Sequence[str]) -> str:
    names = {"dataset": "<"} | _where(block)
    rows = [
        [
            line.label,
            *([line.title] if block.stale else []),
            str(row.seed),
            loss(row.metrics["best_val_loss"]),
            str(int(row.metrics["best_val_step"])),
            loss(row.metrics["val_loss"]),
            loss(row.metrics["answering_val_loss"]),
            _percent(row.metrics["accuracy"]),
            _percent(row.metrics["pass_n"]),
            _interval(row.metrics, "selected_2"),
            str(machines.index(comparison.described(row)) + 1),
        ]
        for line in block.lines
        for row in line.rows
    ]
    return markdown.table(names | RUN_COLUMNS, rows)


def _where(block: Block) -> dict[str, str]:
    """Return the column with the title of a line, where that of the block is another."""
    return {"model at scale on tasks": "<"} if block.stale else {}


def loss(mean: float, sd: float | None = None) -> str:
    """Return a loss in nats per token as text, with its standard deviation if there is one."""
    return f"{mean:.4f}" if sd is None else f"{mean:.4f} ± {sd:.4f}"


def _percent(mean: float, sd: float | None = None) -> str:
    text = f"{100 * mean:.1f}" if sd is None else f"{100 * mean:.1f} ± {100 * sd:.1f}"
    return f"{text} %"


def _interval(metrics: Mapping[str, float], name: str) -> str:
    low, high = (f"{100 * metrics[f'{name}_{end}']:.1f}" for end in ("low", "high"))
    return f"{_percent(metrics[name])} ({low} to {high})"
