"""The ablation table as Markdown: for each block, its lines and what follows from them."""

import math
from collections.abc import Sequence

from arcmix.ledger import comparison, markdown, verdicts
from arcmix.ledger.differences import SHORT
from arcmix.ledger.table import Block, Line, drawn
from arcmix.stats import shares

LEGEND = """\
A row sums up the runs of one dataset: means over its seeds, ± the standard deviation.
`loss per cell` is in nats per cell of the right answer, a mean over the validation tasks. A
`verdict` compares it with the baseline: the difference ± half of its 95 % interval, which covers
other tasks and other seeds. It is taken over the seeds that both rows have, so it may differ from
that of the two means, even in sign. The interval is that of one comparison; better and worse allow
for all comparisons of the table. `best val loss` is in nats per answer token. If a trained run has
its `best step` at the end, more training may help. Scores are percentages of the validation tasks;
brackets hold the 95 % interval over tasks. Rows that were trained on validation demonstrations, the
solved pairs of the validation tasks, are in a table of their own. docs/metrics.md explains each
column (The ablation table)."""
"""Explanation of the main columns, in the Markdown file and on the page."""

CHANCE = """\
Chance alone: seeds {later} of the baseline differ from seeds {earlier} by {mean:+.3f} ± {half:.3f}
nats per cell."""
"""Paragraph below the table of a block whose baseline has enough seeds (`verdicts.chance`)."""

OTHER_SEEDS = """\
These runs differ in the seed of the adapter's initial weights, or in that of the choice of the
validation tasks. The page of the study has their spread (Noise)."""
"""What a block of such runs says (`Block.other_seeds`)."""

EARLIER = """\
Made by earlier code, so these rows are compared with one another only. To repeat a run:
`git checkout {commit}`, then
`dvc exp run -S model={model} -S scale={scale} -S dataset=DATASET -S seed=SEED`. For a row with more
than the name of a dataset, the page of the study has the command."""
"""Paragraph below the title of a block that an earlier commit made."""

COLUMNS = {
    "dataset": "<",
    "verdict": "<",
    "loss per cell": ">",
    "seeds": ">",
    "tasks": ">",
    "samples": ">",
    "epochs": ">",
    "answer tokens": ">",
    "tokens": ">",
    "best val loss": ">",
    "best step": ">",
    "accuracy": ">",
    "pass_n": ">",
    "selected_2": ">",
    "mixed": "<",
}
"""Columns of a block's table -> their alignment (`markdown.table`). The second `tokens` counts
prompts too."""

CLEAN_COLUMNS = {"clean tasks": ">", "clean loss per cell": ">", "clean selected_2": ">"}
"""More columns, for a block with a line some of whose validation tasks are not clean."""

ADAPTED_COLUMNS = {"val loss before": ">", "val loss after": ">"}
"""More columns, for a block with a line that was fine-tuned at test time."""


def as_markdown(blocks: Sequence[Block]) -> str:
    """Return the table as Markdown: for each block, its lines and what follows from them."""
    parts = []
    for block in blocks:
        parts.append(f"### {block.title}")
        if block.commit and not block.other_seeds:
            first = block.lines[0].rows[0]
            commit = block.commit[:SHORT]
            parts.append(EARLIER.format(commit=commit, model=first.model, scale=first.scale))
        parts.append(_table(block))
        parts.append(findings(block))
        if block.baseline and (found := verdicts.chance(block.baseline.rows)):
            later, earlier = (
                ", ".join(str(row.seed) for row in rows)
                for rows in zip(*verdicts.pairs(block.baseline.rows), strict=True)
            )
            parts.append(
                CHANCE.format(
                    later=later, earlier=earlier, mean=found.mean, half=found.half_width()
                )
            )
    rows = [row for block in blocks for line in block.lines for row in line.rows]
    notes = [*filter(None, [comparison.unpinned(rows)]), LEGEND]
    listed = "\n".join(
        f"{number}. {machine}"
        for number, machine in enumerate(dict.fromkeys(map(comparison.described, rows)), 1)
    )
    return "\n\n".join([*parts, *notes, "Machines:", listed]) + "\n"


def findings(block: Block) -> str:
    """Return in two sentences what the verdicts of a block say."""
    if block.other_seeds:
        return OTHER_SEEDS
    if block.baseline is None:
        return "Without a baseline, nothing is said about which dataset is better."
    name = block.baseline.label
    if len(block.lines) == 1:
        return f"{name} is the only dataset of this table, so nothing is compared."
    judged = [
        (line, found) for line in block.lines if (found := line.verdict.difference) is not None
    ]
    if not judged:
        return (
            f"No dataset can be compared with {name} yet. This needs {verdicts.MIN_SEEDS} seeds"
            " that both have."
        )
    groups = {
        word: [line.label for line, _ in judged if line.verdict.kind == kind]
        for kind, word in verdicts.KINDS.items()
    }
    counts = [f"{len(own)} {word}: {', '.join(own)}" for word, own in groups.items() if own]
    first, found = min(judged, key=lambda one: one[0].mean(verdicts.LOSS))
    size = f"{abs(found.mean):.3f} ± {found.half_width():.3f}"
    ending = "" if first.verdict.kind == "unclear" else ", more than chance explains"
    return (
        f"Compared with {name}: {'; '.join(counts)}. The lowest loss of these is that of"
        f" {first.label}, {size} nats per cell {'below' if found.mean < 0 else 'above'}"
        f" {name}{ending}."
    )


def _table(block: Block) -> str:
    leaked = any(line.leaked for line in block.lines)
    adapted = any(any(row.metrics.get("adapted_tasks") for row in one.rows) for one in block.lines)
    rows = []
    for line in block.lines:
        seen = line.exposure
        rows.append(
            [
                line.label,
                line.verdict.text,
                loss(line.mean(verdicts.LOSS), line.sd(verdicts.LOSS)),
                str(len(line.rows)),
                str(drawn(line.rows[0], "tasks")),
                f"{seen['samples']:.0f}",
                f"{seen['epochs']:.1f}",
                count(seen["answer_tokens"]),
                count(seen["tokens"]),
                loss(line.mean("best_val_loss"), line.sd("best_val_loss")),
                f"{_steps(line.values('best_val_step'))} of {_steps(line.last_steps)}",
                *(_share(line.mean(score), line.interval(score)) for score in verdicts.SCORES),
                ", ".join(line.mixed) or "no",
                *(_clean(line) if leaked else []),
                *(_adapted(line) if adapted else []),
            ]
        )
    more = (CLEAN_COLUMNS if leaked else {}) | (ADAPTED_COLUMNS if adapted else {})
    return markdown.table(COLUMNS | more, rows)


def _clean(line: Line) -> list[str]:
    mean, score = line.clean(verdicts.LOSS), line.clean("selected_2")
    tasks = int(line.rows[0].metrics["clean_tasks"])
    return [
        str(tasks),
        "" if mean is None else loss(mean),
        "" if score is None else _share(score, shares.interval(score, tasks)),
    ]


def _adapted(line: Line) -> list[str]:
    """Return the validation loss of the adapter, and that of the models that answered."""
    chosen = "best_val_loss" if line.rows[0].settings.get("checkpoint") == "best" else "val_loss"
    return [loss(line.mean(name), line.sd(name)) for name in (chosen, "answering_val_loss")]


def _steps(values: Sequence[float]) -> str:
    low, high = int(min(values)), int(max(values))
    return str(low) if low == high else f"{low}-{high}"


def count(number: float) -> str:
    """Return a number of tokens as text, with three digits: 950, 5.34 k, 41.2 k, 4.00 M."""
    for unit, size in ((" M", 10**6), (" k", 10**3)):
        if number >= 0.9995 * size:
            value = number / size
            return f"{value:.{max(0, 2 - int(math.log10(value * 1.0005)))}f}{unit}"
    return f"{number:.0f}"


def loss(mean: float, sd: float | None = None) -> str:
    """Return a loss in nats per token as text, with its standard deviation if there is one."""
    return f"{mean:.4f}" if sd is None else f"{mean:.4f} ± {sd:.4f}"


def _share(mean: float, interval: tuple[float, float]) -> str:
    low, high = (f"{100 * end:.1f}" for end in interval)
    return f"{100 * mean:.1f} % ({low} to {high})"
