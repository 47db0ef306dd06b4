"""Refuse tests whose prompts are all too long to be answered.

Reads the tasks and the text format of the adapter that is to answer them.
"""

import logging
from pathlib import Path
from typing import Annotated

from arcmix import program
from arcmix import tasks as tables
from arcmix.config import scales
from arcmix.config.schema import At, PositiveInt, Section
from arcmix.models import pretrained
from arcmix.prediction import views
from arcmix.prediction.prompt_set import PromptSet

log = logging.getLogger("arcmix.prompts")


class Params(Section):
    """The values that the program depends on."""

    max_tokens: Annotated[PositiveInt, At("scales.${scale}.validation.max_tokens")]
    """Limit on the tokens of a prompt; longer prompts are not answered."""
    predict: Annotated[scales.Predict, At("scales.${scale}.predict")]
    """The longest answer and the grammar, which belong to a text format."""


def run(*, config: Params, tasks: Path, adapter: Path) -> None:
    """Refuse the `tasks` if the folder `adapter` makes too long a prompt of each test."""
    pretrained.quiet()
    asked = [
        view
        for task in tables.read(tasks, hidden=True)
        for test in range(len(task.test))
        for view in views.views_of(task, test, 1, 0.0, 0)
    ]
    lengths = [len(one) for one in PromptSet(adapter, asked, config.predict).prompts]
    kept = sum(length <= config.max_tokens for length in lengths)
    if not kept:
        raise ValueError(
            f"the prompts of all {len(lengths)} tests have more than {config.max_tokens} tokens,"
            f" the shortest {min(lengths)}; raise validation.max_tokens of the scale, within the"
            " positions of the model"
        )
    log.info(
        "%d of %d tests have a prompt of at most %d tokens", kept, len(asked), config.max_tokens
    )


if __name__ == "__main__":
    program.main(run)
