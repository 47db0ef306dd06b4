"""The fine-tune of an experiment: load the model, train it, write the adapter folder.

An adapter folder holds the weights of the lowest validation loss, `best`, those of the last step
with the optimizer's state, `last`, and the text format (`adapters.save_text`).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from arcmix import files, program
from arcmix.config import scales
from arcmix.models import adapters, parallel, pretrained
from arcmix.text import tokenization
from arcmix.text.encode import Encoder
from arcmix.text.prompt import Style
from arcmix.training import checkpoints, measurement, optimizer, trainer
from arcmix.training import history as history_table
from arcmix.training.measurement import Measurement
from arcmix.training.plan import Plan

log = logging.getLogger("arcmix.finetune")

OPTIMIZER_STATE = "optimizer.safetensors"
"""Name of the file with the optimizer's state, in the folder of an adapter."""


@dataclass(frozen=True)
class Start:
    """A model that is ready to train, with its tokenizer and its text format."""

    model: adapters.Tuned
    """The model; its trainable weights require gradients."""
    tokenizer: PreTrainedTokenizerBase
    """The tokenizer, with the tokens that the encoder adds."""
    style: Style
    """The format of a training text."""


def load(
    base_model: Path, adapter: Path, prompt: scales.Prompt, settings: scales.Finetune, seed: int
) -> Start:
    """Load a base model with a new adapter, or with the adapter of an earlier run.

    Args:
        base_model: Folder of the base model.
        adapter: Folder of an earlier run's adapter; if it does not exist, a new adapter is made.
        prompt: The prompt format and the encoder.
        settings: The method and the settings of the adapter.
        seed: Seed of a new adapter's weights.

    Raises:
        ValueError: If this machine cannot run the method or the optimizer, or if the settings do
            not fit the model or the earlier adapter.
    """
    pretrained.require_gpu(settings.method, settings.optimizer)
    tokenizer = pretrained.load_tokenizer(base_model)
    encoder = Encoder(prompt.encoder)
    base = pretrained.load_base(base_model, settings.dtype, settings.method)
    added = pretrained.add_tokens(base, tokenizer, encoder.tokens)
    style = tokenization.style(tokenizer, prompt.format, encoder, settings.loss)
    if adapter.is_dir():
        model = adapters.resume(base, adapter, settings, seed, added)
    else:
        model = adapters.attach(base, settings, seed, added)
    return Start(model, tokenizer, style)


def optimizer_state(adapter: Path) -> Path | None:
    """Return the file of the optimizer's state in an adapter's folder, or none if it has none."""
    path = adapter / OPTIMIZER_STATE
    return path if path.exists() else None


def run(
    start: Start, plan: Plan, work: Path, history: Path
) -> tuple[list[Measurement], torch.optim.Optimizer | None]:
    """Train, from the last checkpoint if there is one; return all measurements and the optimizer.

    A plan without steps has no optimizer.

    Args:
        start: The model.
        plan: The samples, their order and the budget.
        work: Folder for the checkpoints and the best weights (`checkpoints`).
        history: The table of measurements; it is rewritten after each measurement.
    """
    last = checkpoints.newest(work)
    if last is not None and last.name.endswith(f"-{plan.steps}"):
        log.info("an earlier run has finished; remove %s to train again", work)
    elif last is not None:
        log.info("resuming at %s", last)
    with program.progress(plan.steps, "finetune", "step") as bar:

        def report(measurements: Sequence[Measurement]) -> None:
            latest = measurements[-1]
            bar.update(latest.step - bar.n)
            if parallel.is_main():
                log.info("step %d: validation loss %.4f", latest.step, latest.val_loss)
                history_table.write(history, measurements)

        measurements, trained = trainer.train(
            start.model, start.tokenizer, plan, work, last, report
        )
    if parallel.is_main():
        # A run that was killed after its last step takes no measurement, so write it again.
        history_table.write(history, measurements)
    return measurements, trained


def write_adapter(
    out: Path,
    start: Start,
    prompt: scales.Prompt,
    settings: scales.Finetune,
    trained: torch.optim.Optimizer | None,
    work: Path,
    measurements: Sequence[Measurement],
) -> None:
    """Write the adapter folder of a finished fine-tune.

    Args:
        out: The adapter folder.
        start: The model, with the weights of the last step.
        prompt: The prompt format and the encoder.
        settings: The settings of the fine-tune.
        trained: The optimizer after the last step, if there was a step.
        work: The folder `work` of `run`.
        measurements: All measurements.
    """
    best = checkpoints.best(work, measurement.losses_by_step(measurements))
    files.copy_folder(best, out / "best")
    adapters.save(start.model, out / "last")
    if trained is not None:
        optimizer.save_state(
            out / "last" / OPTIMIZER_STATE,
            trained,
            start.model.named_parameters(),
            settings.optimizer,
        )
    adapters.save_text(out, start.tokenizer, prompt)


def summary(
    start: Start,
    plan: Plan,
    measurements: Sequence[Measurement],
    components: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Return what was trained and how many samples were seen, as JSON.

    Args:
        start: The model.
        plan: The samples and the budget.
        measurements: All measurements.
        components: Samples and epochs of each component (`mix.seen`).
    """
    return {
        "trained": adapters.effective(start.model),
        "steps": plan.steps,
        "samples": len(plan.order),
        "epochs": measurements[-1].epochs,
        "answer_tokens": measurements[-1].answer_tokens,
        "tokens": measurements[-1].tokens,
        "components": components,
    }
