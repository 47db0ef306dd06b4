"""The fine-tune of an experiment: the model and its texts, the training, and the adapter folder.

An adapter folder holds `best` and `last`, the weights of the lowest validation loss and of the last
step, the latter with the optimizer's state, and the text format (`adapters.save_text`).
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from arcmix import program
from arcmix.config import scales
from arcmix.models import adapters, parallel, pretrained
from arcmix.text import tokenization
from arcmix.text.encode import Encoder
from arcmix.text.prompt import Style
from arcmix.training import measurement, optimizer, trainer
from arcmix.training.measurement import Measurement
from arcmix.training.plan import Plan

log = logging.getLogger("arcmix.finetune")

OPTIMIZER_STATE = "optimizer.safetensors"
"""The file of an adapter that holds the state of its optimizer."""


@dataclass(frozen=True)
class Start:
    """A model that is ready to train, and the form of its texts."""

    model: adapters.Tuned
    """The model; what trains requires gradients."""
    tokenizer: PreTrainedTokenizerBase
    """Its tokenizer, with the tokens that the encoder adds."""
    style: Style
    """The form of a training text."""


def load(
    base_model: Path, adapter: Path, prompt: scales.Prompt, settings: scales.Finetune, seed: int
) -> Start:
    """Load a base model with a fresh adapter, or with the adapter of an earlier run.

    Args:
        base_model: Folder of the base model.
        adapter: Folder of the adapter of an earlier run; a fresh one starts if it does not exist.
        prompt: The form of a text.
        settings: The method and the adapter's shape.
        seed: Seed of a fresh adapter's weights.

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
    """Return the file of the optimizer's state in the folder of an adapter, if there is one."""
    path = adapter / OPTIMIZER_STATE
    return path if path.exists() else None


def run(
    start: Start, plan: Plan, work: Path, history: Path
) -> tuple[list[Measurement], torch.optim.Optimizer]:
    """Train, from the last checkpoint if there is one; return all measurements and the optimizer.

    Args:
        start: The model.
        plan: The samples, their order and the budget.
        work: Folder of the checkpoints, and of the best weights as `best`.
        history: The table of the measurements, written anew after each of them.
    """
    last = trainer.checkpoint(work)
    if last is not None:
        log.info("resuming at %s", last)
    with program.progress(plan.steps, "finetune", "step") as bar:

        def report(found: Sequence[Measurement]) -> None:
            *before, now = found
            bar.update(now.step - bar.n)
            if parallel.is_main():
                log.info("step %d: validation loss %.4f", now.step, now.val_loss)
                measurement.write_history(history, found)
                if all(now.val_loss < earlier.val_loss for earlier in before):
                    adapters.save(start.model, work / "best")

        found, made = trainer.train(start.model, start.tokenizer, plan, work, last, report)
    if parallel.is_main():
        # Again, since a run that was killed after its last step measures no more.
        measurement.write_history(history, found)
    return found, made


def write_adapter(
    out: Path,
    start: Start,
    prompt: scales.Prompt,
    settings: scales.Finetune,
    trained: torch.optim.Optimizer,
    work: Path,
) -> None:
    """Write the adapter folder of a finished fine-tune.

    Args:
        out: The adapter folder.
        start: The model, with the weights of the last step.
        prompt: The form of its texts.
        settings: The settings of the fine-tune.
        trained: The optimizer after the last step.
        work: The folder that `run` was given.
    """
    shutil.copytree(work / "best", out / "best", dirs_exist_ok=True)
    adapters.save(start.model, out / "last")
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
    found: Sequence[Measurement],
    components: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Return what trained and how much was seen, as JSON.

    Args:
        start: The model.
        plan: The samples and the budget.
        found: All measurements.
        components: What was seen of each component (`mix.seen`).
    """
    return {
        "trained": adapters.effective(start.model),
        "steps": plan.steps,
        "samples": len(plan.order),
        "epochs": found[-1].epochs,
        "answer_tokens": found[-1].answer_tokens,
        "components": components,
    }
