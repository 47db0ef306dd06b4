"""Write the answers to hidden tests as a submission in Kaggle's format.

Reads the tasks, the candidates and their scores, as stage `predict` wrote them.
"""

import json
import logging
from pathlib import Path
from typing import Annotated

from arcmix import files, program
from arcmix import tasks as tables
from arcmix.config import params, scales
from arcmix.config.schema import At, PositiveInt, Section
from arcmix.prediction import candidates as candidate_table
from arcmix.prediction import scores as score_table
from arcmix.scoring import evaluation, submission

log = logging.getLogger("arcmix.answer")


class Params(Section):
    """The values that the program depends on."""

    selection: Annotated[params.Selection, At("selection")]
    """The rule that selects the answers."""
    max_tokens: Annotated[PositiveInt, At("scales.${scale}.validation.max_tokens")]
    """Limit on the tokens of a prompt; longer prompts are not answered."""
    predict: Annotated[scales.Predict, At("scales.${scale}.predict")]
    """The search, with the number of views of each test."""


def run(*, config: Params, tasks: Path, candidates: Path, scores: Path, out: Path) -> None:
    """Write the two best of the `candidates` for each test of `tasks` to the submission `out`."""
    asked = tables.read(tasks, hidden=True)
    tests = [(task.id, number) for task in asked for number in range(len(task.test))]
    found = candidate_table.read(candidates, tests, config.predict.views)
    answers = evaluation.Answers(
        asked, found, score_table.read(scores, found), config.selection
    ).selected()
    text = submission.text(answers)
    counts = {task.id: len(task.test) for task in asked}
    checked = submission.read(out, json.loads(text), counts, tables.longest_side(asked))
    if checked.missing or checked.invalid:
        raise ValueError(
            f"{out}: {checked.missing} attempts are missing and {checked.invalid} are no grid, so"
            " it is not written; repeat the predictions"
        )
    files.write_text(out, text)
    log.info("%s: two attempts at each of the %d tests of %d tasks", out, len(tests), len(asked))
    unread = sum(not any(one.tokens for one in own) for own in found.values())
    empty = sum(not grids for own in answers.values() for grids in own)
    if empty:
        log.warning(
            "%d of the %d tests have no answer that is a grid, so their attempts are %s; tests"
            " whose prompt has more than %d tokens, the validation.max_tokens of the scale: %d",
            empty,
            len(tests),
            json.dumps(submission.FILLER),
            config.max_tokens,
            unread,
        )


if __name__ == "__main__":
    program.main(run)
