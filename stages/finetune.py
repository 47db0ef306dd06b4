"""Stage `finetune`: train an adapter, or the whole model, on the samples.

Reads the base model, the adapter to start from, the training samples and the validation tasks.
Writes the adapter folder, the loss of each validation prompt at each measurement, the history of
the run, a summary of what was trained with the samples seen of each component, and the machines. A
killed run resumes at its last checkpoint when it is started again.
"""

from pathlib import Path
from typing import Annotated

from arcmix import files, machines, program, tasks
from arcmix.config import params, scales
from arcmix.config.schema import At, PositiveInt, Section, Seed
from arcmix.models import loss, numerics, parallel, pretrained
from arcmix.sampling import mix
from arcmix.scoring import losses as loss_table
from arcmix.training import corpus, finetune, trainer, work
from arcmix.training.plan import Plan, adapter_seed


class Params(Section):
    """The values that the stage depends on."""

    seed: Annotated[Seed, At("seed")]
    """Seed of the experiment."""
    init_seed: Annotated[params.InitSeed, At("init_seed")]
    """Seed of the adapter's initial weights and of its dropout."""
    report_to: Annotated[params.Tracker, At("report_to")]
    """Name of an experiment tracker, or `none`."""
    prompt: Annotated[scales.Prompt, At("scales.${scale}.prompt")]
    """The prompt format and the encoder."""
    finetune: Annotated[scales.Finetune, At("scales.${scale}.finetune")]
    """Settings of the fine-tune."""
    max_val_tokens: Annotated[PositiveInt, At("scales.${scale}.validation.max_tokens")]
    """Maximum number of tokens in a validation prompt with its answer."""


def run(  # noqa: PLR0913 - a stage's arguments are its files
    *,
    config: Params,
    code: Path,
    base_model: Path,
    initial: Path,
    samples: Path,
    mix_file: Path,
    validation: Path,
    checkpoints: Path,
    tracking: Path,
    adapter: Path,
    losses: Path,
    history: Path,
    summary: Path,
    machine: Path,
) -> None:
    """Train on `samples`, measure on `validation`, and write the paths from `adapter` on.

    Checkpoints lie in a folder in `checkpoints`, where an equal run finds them; a tracker writes
    to a folder in `tracking`. Only rank 0 writes the results.
    """
    pretrained.quiet()
    settings = config.finetune
    seed = adapter_seed(config.seed, config.init_seed)
    # A run resumes where it was killed only if it then has the result that it would have had.
    how = [
        config.model_dump_json(exclude={"report_to"}),
        numerics.found(),
        parallel.all_ranks().count,
    ]
    key = files.key(f"{how}", [code, base_model, initial, samples, validation])
    trainer.prepare_tracker(config.report_to, tracking / key)
    with work.held(checkpoints, key) as folder:
        start = finetune.load(base_model, initial / "adapter", config.prompt, settings, seed)
        drawn = corpus.load(samples, start.tokenizer, start.style, settings)
        prompts = corpus.validation_prompts(
            tasks.read(validation), start.tokenizer, start.style, config.max_val_tokens
        )
        plan = Plan(
            samples=drawn.examples,
            validation=prompts.examples,
            settings=loss.fitted(settings, start.model),
            seed=seed,
            report_to=config.report_to,
            state=finetune.optimizer_state(initial / "adapter"),
        )
        measurements, optimizer = finetune.run(start, plan, folder, history)
        if not parallel.is_main():
            return
        finetune.write_adapter(
            adapter, start, config.prompt, settings, optimizer, folder, measurements
        )
        loss_table.write(
            losses, prompts.tests, prompts.tokens, {one.step: one.losses for one in measurements}
        )
        components = mix.seen(mix.read(mix_file), drawn.entries[plan.order])
        files.write_json(summary, finetune.summary(start, plan, measurements, components))
        machines.write(machine, numerics.machine())


if __name__ == "__main__":
    program.main(run)
    parallel.leave()
