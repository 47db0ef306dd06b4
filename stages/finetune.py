"""Stage `finetune`: train a LoRA adapter on the samples.

Reads the base model, the training samples and the validation tasks. Writes the adapter
folder (`best`, `last`, the tokenizer, and the prompt it was trained with), the loss of
every validation prompt at every measurement, and the history of the run.
"""

import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd

from arcmix import augment, examples, fastpath, files, model, params, program, prompt, tasks, train
from arcmix.encode import Encoder
from arcmix.schema import At, Section
from arcmix.tasks import Pair

log = logging.getLogger("arcmix.finetune")

CHUNK = 512
"""Samples brought into tokens at once: what the processor's cache holds."""

TRIED = 64
"""Samples on which the fast path is proven at the start."""


class Params(Section):
    """The values that the stage depends on."""

    seed: Annotated[int, At("seed")]
    """The experiment's seed."""
    prompt: Annotated[params.Prompt, At("scales.${scale}.prompt")]
    """The text of a task."""
    finetune: Annotated[params.Finetune, At("scales.${scale}.finetune")]
    """The fine-tune."""
    max_val_tokens: Annotated[int, At("scales.${scale}.validation.max_tokens")]
    """Longest validation prompt and answer."""


def run(
    *,
    config: Params,
    base_model: Path,
    samples: Path,
    validation: Path,
    adapter: Path,
    losses: Path,
    history: Path,
) -> None:
    """Train on `samples`, measure on `validation`, write `adapter`, `losses`, `history`."""
    model.quiet()
    tokenizer = model.load_tokenizer(base_model)
    settings = config.finetune
    encoder = Encoder(config.prompt.encoder)
    base = model.load(base_model, settings.dtype)
    added = model.add_tokens(base, tokenizer, encoder.tokens)
    style = examples.style(tokenizer, config.prompt.format, encoder, "answer")

    training, drawn = _training(tokenizer, style, samples, settings)
    tests = [(task, number) for task in tasks.read(validation) for number in range(len(task.test))]
    measured = examples.tokenize(
        tokenizer,
        [_text(style, (*task.train, task.test[number])) for task, number in tests],
    )
    kept = [n for n, one in enumerate(measured) if len(one.input_ids) <= config.max_val_tokens]
    log.info(
        "%d training samples of at most %d tokens among the first %d",
        len(training),
        settings.max_tokens,
        drawn,
    )
    log.info(
        "%d of %d validation prompts of at most %d tokens",
        len(kept),
        len(tests),
        config.max_val_tokens,
    )

    tuned = model.attach(base, settings.lora, config.seed, added)
    found: list[train.Measurement] = []
    with program.progress(settings.steps, "finetune", "step") as bar:

        def report(measurement: train.Measurement) -> None:
            if not found or measurement.val_loss < min(one.val_loss for one in found):
                model.save_adapter(tuned, adapter / "best")
            found.append(measurement)
            bar.update(measurement.step - bar.n)
            log.info("step %d: validation loss %.4f", measurement.step, measurement.val_loss)

        train.finetune(
            tuned,
            tokenizer,
            training,
            [measured[number] for number in kept],
            settings,
            config.seed,
            report,
        )
    model.save_adapter(tuned, adapter / "last")
    tokenizer.save_pretrained(adapter / "tokenizer")
    files.write_json(adapter / "prompt.json", config.prompt.model_dump())
    files.write_csv(history, _history(found))
    files.write_parquet(
        losses,
        pd.DataFrame(
            {
                "step": one.step,
                "task": tests[number][0].id,
                "test": tests[number][1],
                "nll": nll,
                "tokens": measured[number].trained_tokens,
            }
            for one in found
            for number, nll in zip(kept, one.losses, strict=True)
        ),
    )


def _training(
    tokenizer: model.PreTrainedTokenizerBase,
    style: prompt.Style,
    samples: Path,
    settings: params.Finetune,
) -> tuple[list[examples.Example], int]:
    """Return the samples short enough, as many as the steps take, and how many were read."""
    wanted = settings.steps * settings.batch
    encode = _encoder(tokenizer, style, samples)
    found: list[examples.Example] = []
    read = 0
    with program.progress(wanted, "tokenize", "sample") as bar:
        for stretch in augment.stretches(samples, CHUNK):
            # Copies, since the tokens of the long ones need not stay.
            found += [
                example._replace(input_ids=example.input_ids.copy(), trained=example.trained.copy())
                for example in encode(stretch)
                if len(example.input_ids) <= settings.max_tokens
            ]
            read += len(stretch.grids)
            bar.update(len(found) - bar.n)
            if len(found) >= wanted:
                break
    return found[:wanted], read


def _encoder(
    tokenizer: model.PreTrainedTokenizerBase, style: prompt.Style, samples: Path
) -> Callable[[augment.Stretch], list[examples.Example]]:
    tried = next(augment.stretches(samples, TRIED))
    try:
        return fastpath.encoder(tokenizer, style, tried)
    except fastpath.MergedError as error:
        log.info("samples are tokenized as texts, since %s", error)
        return functools.partial(fastpath.as_texts, tokenizer, style)


def _text(style: prompt.Style, pairs: Sequence[Pair]) -> prompt.Text:
    return prompt.render(style, pairs[:-1], pairs[-1].input, pairs[-1].output)


def _history(found: Sequence[train.Measurement]) -> pd.DataFrame:
    columns = ("step", "samples", "answer_tokens", "learning_rate", "train_loss", "val_loss")
    return pd.DataFrame({name: [getattr(one, name) for one in found] for name in columns})


if __name__ == "__main__":
    program.main(run)
