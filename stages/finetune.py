"""Stage `finetune`: train a LoRA adapter on the samples.

Reads the base model, what to start from, the training samples and the validation tasks.
Writes the adapter folder (`best`, `last` with the optimizer's state, the tokenizer, and the
prompt it was trained with), the loss of every validation prompt at every measurement, the
history of the run, and a summary: what trained, and what was seen of each component. A run
that was killed goes on at its last checkpoint when it is started again.
"""

import dataclasses
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd

from arcmix import (
    code,
    corpus,
    examples,
    files,
    mix,
    model,
    optimizer,
    params,
    processes,
    program,
    prompt,
    tasks,
    train,
    tuned,
)
from arcmix.encode import Encoder
from arcmix.measurement import Measurement
from arcmix.plan import Plan
from arcmix.schema import At, Section
from arcmix.tasks import Task

log = logging.getLogger("arcmix.finetune")


class Params(Section):
    """The values that the stage depends on."""

    seed: Annotated[int, At("seed")]
    """The experiment's seed."""
    init_seed: Annotated[int | Literal["seed"], At("init_seed")]
    """The seed of the adapter's start and of its dropout."""
    report_to: Annotated[str, At("report_to")]
    """A tracker, or none."""
    prompt: Annotated[params.Prompt, At("scales.${scale}.prompt")]
    """The text of a task."""
    finetune: Annotated[params.Finetune, At("scales.${scale}.finetune")]
    """The fine-tune."""
    max_val_tokens: Annotated[int, At("scales.${scale}.validation.max_tokens")]
    """Longest validation prompt and answer."""


def run(  # noqa: PLR0913 - a stage's arguments are its files
    *,
    config: Params,
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
) -> None:
    """Train on `samples`, measure on `validation`, and write the other paths.

    What is needed to go on after a kill is kept in a folder of `checkpoints` until the end. A
    tracker writes to a folder of `tracking`. Of the processes that share the training, the first
    writes.
    """
    model.quiet()
    settings = config.finetune
    model.require_gpu(settings.method, settings.optimizer)
    work = checkpoints / code.key(
        Path(__file__),
        config.model_dump_json(exclude={"report_to"}),
        [base_model, initial, samples, validation],
    )
    train.prepare_tracker(config.report_to, tracking / work.name)
    tokenizer = model.load_tokenizer(base_model)
    encoder = Encoder(config.prompt.encoder)
    base = model.load_base(base_model, settings.dtype, settings.method)
    added = model.add_tokens(base, tokenizer, encoder.tokens)
    style = examples.style(tokenizer, config.prompt.format, encoder, settings.loss)
    drawn = corpus.load(samples, tokenizer, style, settings)
    training = drawn.examples
    tests = [(task, number) for task in tasks.read(validation) for number in range(len(task.test))]
    measured = examples.tokenize(tokenizer, _texts(style, tests))
    kept = [n for n, one in enumerate(measured) if len(one.input_ids) <= config.max_val_tokens]
    log.info(
        "%d training samples of at most %d tokens among the first %d",
        len(training),
        settings.max_tokens,
        drawn.read,
    )
    log.info(
        "%d of %d validation prompts of at most %d tokens",
        len(kept),
        len(tests),
        config.max_val_tokens,
    )

    seed = config.seed if config.init_seed == "seed" else config.init_seed
    asked_for = [measured[number] for number in kept]
    if settings.cut_vocabulary:
        training, asked_for = _cut(base, training, asked_for)
    one = _start(base, initial / "adapter", settings, seed, added)
    state = initial / "adapter" / "optimizer.safetensors"
    plan = Plan(
        training,
        asked_for,
        settings,
        seed,
        config.report_to,
        state if state.exists() else None,
    )
    if (last := train.checkpoint(work)) is not None:
        log.info("going on at %s", last)

    with program.progress(plan.steps, "finetune", "step") as bar:

        def report(found: Sequence[Measurement]) -> None:
            *before, now = found
            bar.update(now.step - bar.n)
            if processes.leads():
                log.info("step %d: validation loss %.4f", now.step, now.val_loss)
                # Written as it grows, for dvc plots.
                files.write_csv(history, _history(found))
                if all(now.val_loss < earlier.val_loss for earlier in before):
                    tuned.save(one, work / "best")

        found, made = train.finetune(one, tokenizer, plan, work, last, report)
    if not processes.leads():
        return
    # Again, since a run that was killed after its last step has no more to report.
    files.write_csv(history, _history(found))
    shutil.copytree(work / "best", adapter / "best", dirs_exist_ok=True)
    tuned.save(one, adapter / "last")
    optimizer.save_state(
        adapter / "last" / "optimizer.safetensors",
        made,
        one.named_parameters(),
        settings.optimizer,
    )
    tokenizer.save_pretrained(adapter / "tokenizer")
    files.write_json(adapter / "prompt.json", config.prompt.model_dump())
    files.write_parquet(
        losses,
        pd.DataFrame(
            {
                "step": at.step,
                "task": tests[number][0].id,
                "test": tests[number][1],
                "nll": nll,
                "tokens": measured[number].trained_tokens,
            }
            for at in found
            for number, nll in zip(kept, at.losses, strict=True)
        ),
    )
    files.write_json(
        summary,
        {
            "trained": tuned.effective(one),
            "steps": plan.steps,
            "samples": len(plan.order),
            "epochs": found[-1].epochs,
            "answer_tokens": found[-1].answer_tokens,
            "components": mix.seen(files.read_json(mix_file), drawn.entries[plan.order]),
        },
    )
    files.discard(work)


def _cut(
    base: model.PreTrainedModel, *parts: list[examples.Example]
) -> list[list[examples.Example]]:
    """Cut a model's vocabulary to the tokens of some examples; return these renumbered."""
    vocabulary = examples.vocabulary([one for part in parts for one in part])
    model.cut_vocabulary(base, vocabulary)
    return [examples.renumber(part, vocabulary) for part in parts]


def _start(
    base: model.PreTrainedModel,
    adapter: Path,
    settings: params.Finetune,
    seed: int,
    added: Sequence[int],
) -> tuned.Tuned:
    """Return the model with the adapter of an earlier run, or a fresh one if there is none."""
    if adapter.is_dir():
        return tuned.resume(base, adapter, settings, seed, added)
    return tuned.attach(base, settings, seed, added)


def _texts(style: prompt.Style, tests: Sequence[tuple[Task, int]]) -> list[prompt.Text]:
    """Return the tests of tasks, of which the answer carries loss, whatever does in training."""
    asked = dataclasses.replace(style, loss="answer")
    return [
        prompt.render(asked, task.train, task.test[number].input, task.test[number].output)
        for task, number in tests
    ]


def _history(found: Sequence[Measurement]) -> pd.DataFrame:
    table = pd.DataFrame([dataclasses.asdict(one) for one in found])
    return table.drop(columns="losses")


if __name__ == "__main__":
    program.main(run)
    processes.part()
