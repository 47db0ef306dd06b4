"""The ablation table as Markdown: for each block, its lines and its single runs."""

from collections.abc import Sequence

from arcmix.ledger import comparison, markdown, verdicts
from arcmix.ledger.table import Block, drawn
from arcmix.stats import shares

LEGEND = """\
A row sums up the runs of one dataset: means over its seeds, ± the standard deviation. `loss per
cell` is that of the models that answer: after test-time fine-tuning, if there is any. It is in nats
per cell of the right answer, a mean over the validation tasks, which the heading names. A `verdict`
compares it with the baseline, task by task and seed by seed: the difference ± half of its 95 %
interval, which covers other tasks and other seeds. "Better" and "worse" are corrected for the
number of rows, so at most 5 % of such tables have a false one. `samples` and `epochs` are what a
run trained on. A row is `improving` if the last step is the best one of any of its runs. `best val
loss` is the lowest validation loss of any step, in nats per answer token. Scores are percentages of
the validation tasks; brackets hold the 95 % interval over these tasks. Rows that were trained on
validation demonstrations, the solved pairs of the validation tasks, are in a table of their own. A
row is `mixed` if its runs were made on other hardware, with other numbers of threads or ranks, or
with other versions of libraries; it names what differs. Such runs may differ though their seeds do
not, so their mean is not one over seeds alone. `A ← B/0-123` is a second stage of training: on A,
from the adapter of the run B/0-123 of the ledger, `A ← folder B` one from an adapter that was not
made here. `untrained` is a model that is measured as it is. Where several lines have one name, or
several tables one title, the values follow in which they differ."""
"""Explanation of the columns in the Markdown file."""

CHANCE = """\
Chance alone: every second seed of the baseline differs from the seed before it by {mean:+.3f} ±
{half:.3f} nats per cell."""
"""Paragraph below the table of a block whose baseline has enough seeds (`verdicts.chance`)."""

COLUMNS = {
    "verdict": "<",
    "loss per cell": ">",
    "seeds": ">",
    "tasks": ">",
    "samples": ">",
    "epochs": ">",
    "best val loss": ">",
    "best val step": ">",
    "improving": "<",
    "accuracy": ">",
    "pass_n": ">",
    "selected_2": ">",
    "mixed": "<",
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


def as_markdown(blocks: Sequence[Block]) -> str:
    """Return the table as Markdown: for each block, its lines and its single runs."""
    parts = []
    rows = [row for block in blocks for line in block.lines for row in line.rows]
    machines = [*dict.fromkeys(map(comparison.described, rows))]
    for block in blocks:
        parts.append(f"### {block.title}")
        parts.append(_summary(block))
        if block.baseline and (found := verdicts.chance(block.baseline.rows)):
            parts.append(CHANCE.format(mean=found.mean, half=found.half_width()))
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
        seen = line.exposure
        rows.append(
            [
                line.label,
                *([line.title] if block.stale else []),
                line.verdict.text if line.verdict else "",
                loss(line.mean("answering_loss_per_cell"), line.sd("answering_loss_per_cell")),
                str(len(line.rows)),
                str(drawn(line.rows[0], "tasks")),
                f"{seen['samples']:.0f}",
                f"{seen['epochs']:.1f}",
                loss(line.mean("best_val_loss"), line.sd("best_val_loss")),
                str(steps[0]) if len(steps) == 1 else f"{steps[0]}-{steps[-1]}",
                "no" if line.converged else "yes",
                _percent(line.mean("accuracy"), line.sd("accuracy")),
                _percent(line.mean("pass_n"), line.sd("pass_n")),
                _interval(line.mean("selected_2"), len(line.rows[0].tasks)),
                ", ".join(line.mixed) or "no",
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
            _interval(row.metrics["selected_2"], len(row.tasks)),
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


def _interval(mean: float, tasks: int) -> str:
    low, high = (f"{100 * end:.1f}" for end in shares.interval(mean, tasks))
    return f"{_percent(mean)} ({low} to {high})"
