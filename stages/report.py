"""Stage `report`: show the answers to each validation task.

Reads the validation tasks, the candidates and their scores, the losses in the table of tasks, and
the headline numbers.
Writes an HTML page that needs no server and fetches nothing, and a figure of the best and the worst
tasks.
"""

import logging
from pathlib import Path
from typing import Annotated

from arcmix import files, program, tasks
from arcmix.config import params, scales
from arcmix.config.schema import At, Name, Section, Seed
from arcmix.pages import figures, report
from arcmix.prediction import candidates as candidate_table
from arcmix.prediction import scores as score_table
from arcmix.scoring import evaluation
from arcmix.scoring.metrics import ATTEMPTS

log = logging.getLogger("arcmix.report")

EXTREMES = 10
"""Number of the best tasks in the figure, and of the worst."""


class Params(Section):
    """The values that the stage depends on."""

    dataset: Annotated[Name, At("dataset")]
    """Name of the training dataset."""
    model: Annotated[Name, At("model")]
    """Name of the base model."""
    scale: Annotated[Name, At("scale")]
    """Name of the scale."""
    seed: Annotated[Seed, At("seed")]
    """The experiment's seed."""
    selection: Annotated[params.Selection, At("selection")]
    """The rule that ranks the answers to a test."""
    checkpoint: Annotated[params.Checkpoint, At("checkpoint")]
    """The checkpoint that answered, for the header like the next six values."""
    measure: Annotated[params.Measure, At("measure")]
    """The validation tasks."""
    augment: Annotated[params.Augment, At("augment")]
    """The augmentation."""
    init: Annotated[params.Init, At("init")]
    """The start of the fine-tune."""
    prompt: Annotated[scales.Prompt, At("scales.${scale}.prompt")]
    """The text of a task."""
    finetune: Annotated[scales.Finetune, At("scales.${scale}.finetune")]
    """The fine-tune."""
    test_time: Annotated[scales.TestTime, At("scales.${scale}.test_time")]
    """The test-time fine-tuning."""
    predict: Annotated[scales.Predict, At("scales.${scale}.predict")]
    """The search, with the number of views of each test."""


def run(
    *,
    config: Params,
    validation: Path,
    candidates: Path,
    scores: Path,
    table: Path,
    metrics: Path,
    page: Path,
    figure: Path,
) -> None:
    """Write the `page` of all answers to `validation`, and the `figure` of the extreme tasks."""
    asked = tasks.read(validation)
    answers = candidate_table.read(candidates, [*evaluation.truths(asked)], config.predict.views)
    scored = score_table.read(scores, answers)
    losses = evaluation.task_losses(table, asked)
    entries = report.entries(asked, answers, scored, config.selection, losses)
    dataset = config.dataset if config.finetune.budget else "untrained"
    start = "" if config.init.adapter == "none" else f" ← {config.init.adapter}"
    title = f"{dataset}{start}, {config.model} at {config.scale}, seed {config.seed}"
    lead = (
        f"The answers to {len(asked)} validation tasks, ranked by {config.selection}. A test is"
        f" solved if one of the first {ATTEMPTS} is right. Wrong cells are crossed. Intervals are"
        " 95 %."
    )
    found = report.scores(evaluation.read_headline(metrics))
    settings = report.settings(config.model_dump())
    files.write_text(page, report.page(title, lead, report.best_first(entries), found, settings))
    figures.answers(figure, *report.extremes(entries, EXTREMES))
    solved = sum(entry.status == "solved" for entry in entries)
    log.info("%d of %d tasks solved; open %s", solved, len(entries), page)


if __name__ == "__main__":
    program.main(run)
