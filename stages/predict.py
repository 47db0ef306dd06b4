"""Stage `predict`: answer the validation tests, and score the leading grids in all views.

Reads the base model, the adapter folder, the adapters of single tasks and the validation tasks.
Writes the candidates of each test and view, with the view's transform inverted, the
log-probabilities of the leading grids in each view, the validation losses of the models that
answered, and the machine. The folder `predictions` is a cache of results: a killed run resumes, and
a run with twice the views answers only the new views.
"""

import functools
import logging
from pathlib import Path
from typing import Annotated

from arcmix import files, machines, program, tasks
from arcmix.config import params, scales
from arcmix.config.schema import At, PositiveInt, Probability, Section, Seed
from arcmix.models import numerics, parallel, pretrained
from arcmix.prediction import answering, views
from arcmix.prediction import candidates as candidate_table
from arcmix.prediction import scores as score_table
from arcmix.prediction.batching import ResultCache
from arcmix.prediction.prompt_set import PromptSet
from arcmix.scoring import losses as loss_table
from arcmix.training import corpus, outcomes

log = logging.getLogger("arcmix.predict")


class Params(Section):
    """The values that the stage depends on."""

    seed: Annotated[Seed, At("seed")]
    """The experiment's seed."""
    checkpoint: Annotated[params.Checkpoint, At("checkpoint")]
    """The checkpoint of the adapter that answers tasks without an adapter of their own."""
    background: Annotated[Probability, At("augment.background")]
    """Probability that a permutation of the colors moves color 0 too."""
    finetune: Annotated[scales.Finetune, At("scales.${scale}.finetune")]
    """The fine-tune that made the adapter."""
    max_tokens: Annotated[PositiveInt, At("scales.${scale}.validation.max_tokens")]
    """Limit on the tokens of a prompt; longer prompts are not answered."""
    predict: Annotated[scales.Predict, At("scales.${scale}.predict")]
    """The search and its limits."""


def run(  # noqa: PLR0913 - a stage's arguments are its files
    *,
    config: Params,
    code: Path,
    base_model: Path,
    adapter: Path,
    adapted: Path,
    validation: Path,
    predictions: Path,
    candidates: Path,
    scores: Path,
    losses: Path,
    machine: Path,
) -> None:
    """Write the `candidates` for the tests of `validation`, their `scores`, and the `losses`.

    A task is answered with its own adapter if `adapted` has one, else with `adapter`. With several
    ranks, only the first one writes.
    """
    pretrained.quiet()
    # This call comes first, because it assigns a device to the rank.
    is_main = parallel.is_main()
    validation_tasks = tasks.read(validation, hidden=True)
    asked = [
        view
        for task in validation_tasks
        for test in range(len(task.test))
        for view in views.views_of(task, test, config.predict.views, config.background, config.seed)
    ]
    prompts = PromptSet(adapter, asked, config.predict)
    own = outcomes.read_adapted(adapted / "tasks.json")
    groups = answering.groups(prompts, adapter / config.checkpoint, adapted, own, config.max_tokens)
    kept = sum(map(len, groups.values()))
    log.info("%d of %d prompts of at most %d tokens", kept, len(asked), config.max_tokens)
    values = config.predict.model_dump_json(exclude=answering.NOT_IN_SCOPE)
    scope = files.key(
        f"{values} {config.seed} {prompts.max_side}"
        f" {config.finetune.dtype} {config.finetune.method} {numerics.found()}",
        [code, base_model, adapter / "tokenizer", adapter / "prompt.json"],
    )
    base = answering.Base(base_model, config.finetune.dtype, config.finetune.method)
    known = corpus.validation_prompts(
        validation_tasks, prompts.tokenizer, prompts.style, config.max_tokens
    )
    measure = functools.partial(known.losses, settings=config.finetune)
    with program.progress(kept, "predict", "prompt") as bar:
        found = answering.answer(
            base,
            prompts,
            groups,
            ResultCache(predictions, scope),
            config.predict,
            config.seed,
            measure,
            bar.update,
        )
    if not is_main:
        return
    answers = [
        prompts.candidates(number, found.answers.get(number, [])) for number in range(len(asked))
    ]
    candidate_table.write(candidates, zip(asked, answers, strict=True))
    score_table.write(scores, found.scores)
    loss_table.write(
        losses, known.tests, known.tokens, {0: [found.losses[test] for test in known.tests]}
    )
    machines.write(machine, numerics.machine())
    every = [one for own in answers for one in own]
    log.info(
        "%d answers ended, %d of them are grids",
        sum(one.ended for one in every),
        sum(one.grid is not None for one in every),
    )


if __name__ == "__main__":
    program.main(run)
    parallel.leave()
