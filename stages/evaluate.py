"""Stage `evaluate`: select and score the answers, and average the losses.

Reads the validation tasks, the candidates and their scores, the losses of the validation prompts
during the fine-tune and those of the models that answered, the history of the fine-tune, the
outcomes of test-time fine-tuning and the audit. Writes the headline numbers, the tables of metrics,
of tasks and of groups of tasks, and the selected answers in Kaggle's format. docs/metrics.md
defines the numbers.
"""

import logging
from pathlib import Path
from typing import Annotated

from arcmix import files, program
from arcmix.config import params, scales
from arcmix.config.schema import At, Section
from arcmix.prediction import candidates as candidate_table
from arcmix.prediction import scores as score_table
from arcmix.sampling import audit as audit_report
from arcmix.scoring import evaluation, submission
from arcmix.scoring import losses as loss_table
from arcmix.tasks import read as read_tasks
from arcmix.training import outcomes

log = logging.getLogger("arcmix.evaluate")


class Params(Section):
    """The values that the stage depends on."""

    selection: Annotated[params.Selection, At("selection")]
    """The rule that selects the answers."""
    predict: Annotated[scales.Predict, At("scales.${scale}.predict")]
    """The search, with the number of views of each test."""


def run(  # noqa: PLR0913 - a stage's arguments are its files
    *,
    config: Params,
    validation: Path,
    candidates: Path,
    scores: Path,
    losses: Path,
    answering_losses: Path,
    history: Path,
    adapt: Path,
    audit: Path,
    metrics: Path,
    all_metrics: Path,
    tasks: Path,
    groups: Path,
    answers: Path,
) -> None:
    """Write the numbers of the `candidates` for `validation`, and the selected `answers`."""
    asked = read_tasks(validation)
    truths = evaluation.truths(asked)
    found = candidate_table.read(candidates, [*truths], config.predict.views)
    scored = score_table.read(scores, found)
    selected = evaluation.Answers(asked, found, scored, config.selection)
    prompts = loss_table.read(losses, truths)
    numbers = evaluation.evaluate(
        selected,
        prompts,
        loss_table.read_answering(answering_losses, truths, prompts[0]),
        evaluation.train_loss(history, prompts),
        outcomes.read_statuses(adapt),
        audit_report.read(audit)["seen"],
    )
    files.write_json(metrics, numbers.headline)
    files.write_csv(all_metrics, numbers.scores)
    files.write_csv(tasks, numbers.tasks)
    files.write_csv(groups, numbers.groups)
    files.write_text(answers, submission.text(selected.selected()))
    steps = numbers.headline["steps"]
    trained = f"{numbers.headline['val_loss']:.4f} at step {steps}"
    log.info(
        "validation loss %.4f at step 0, %s, %.4f of the models that answer (%d tasks with an"
        " adapter of their own); selected_2 %.3f over %d tasks",
        numbers.headline["val_loss_step_0"],
        trained if steps else "nothing was trained",
        numbers.headline["answering_val_loss"],
        numbers.headline["adapted_tasks"],
        numbers.headline["selected_2"],
        len(asked),
    )


if __name__ == "__main__":
    program.main(run)
