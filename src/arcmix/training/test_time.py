"""Test-time fine-tuning: one adapter a task, each from the same start.

Iteration 13 of arc24 fine-tuned a model for each task. Here the model is loaded once, and its
adapter's weights are set back in place between tasks. Training needs no more than a plain loop:
a Trainer for each task would take longer to be built than many a task to be trained on.

A task's data are its demonstrations, each held out in turn; its tests are not looked at. The
loss on them as they are decides when a task stops, and which of its states is kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from arcmix import randomness
from arcmix.config.params import Augment
from arcmix.config.scales import Finetune, TestTime
from arcmix.models import adapters
from arcmix.models.loss import prompt_losses, token_losses
from arcmix.models.packing import packs
from arcmix.sampling import augment, narrow, sample_table
from arcmix.tasks import Task
from arcmix.text.fastpath import Tokenize
from arcmix.text.tokenization import Example
from arcmix.training import corpus, schedule
from arcmix.training.outcomes import Outcome

Weights = Mapping[str, torch.Tensor]
"""Copies on the CPU of the weights that train, by name."""


@dataclass(frozen=True)
class Data:
    """What a task gives to train on."""

    samples: Sequence[Example]
    """Training samples in tokens; used up, they come again."""
    held_out: Sequence[Example]
    """Each demonstration as it is, to be answered from the others."""


class NotFiniteError(ArithmeticError):
    """A loss or a gradient that is not finite."""


def data(
    task: Task,
    tokenize: Tokenize,
    ask: Tokenize,
    changes: Augment,
    seed: int,
    settings: Finetune,
    own: TestTime,
) -> Data | Outcome:
    """Return a task's data, or, if it gives none, the outcome that this is.

    Args:
        task: The task.
        tokenize: Makes the tokens of samples to train on.
        ask: Makes the tokens of samples whose answers alone carry loss.
        changes: How a sample differs from the task.
        seed: The experiment's seed; each task has draws of its own.
        settings: How long a sample may be, and what happens to a longer one.
        own: The number of steps and their batch.
    """
    entries = narrow.leave_out(task, 1)
    if not entries:
        return _skipped("fewer than 2 demonstrations")
    drawn = augment.draw(
        augment.pool(entries),
        np.arange(len(entries)),
        changes,
        randomness.derived(seed, _purpose(task)),
        0,
        own.steps * own.batch,
    )
    whole = sample_table.from_pairs([(*entry.train, *entry.test) for entry in entries])
    found = Data(
        [one for _, one in corpus.fitting(tokenize, drawn, settings)],
        [one for _, one in corpus.fitting(ask, whole, settings)],
    )
    if not found.samples or not found.held_out:
        return _skipped(f"no sample of at most {settings.max_tokens} tokens")
    return found


def weights(model: adapters.Tuned) -> Weights:
    """Return copies of the weights that train."""
    return {
        name: one.detach().to("cpu", copy=True)
        for name, one in model.named_parameters()
        if one.requires_grad
    }


@torch.no_grad()
def put(model: adapters.Tuned, found: Weights) -> None:
    """Set the weights that train, in place."""
    for name, one in model.named_parameters():
        if one.requires_grad:
            one.copy_(found[name])


def adapt(
    model: adapters.Tuned,
    start: Weights,
    task: Task,
    found: Data,
    seed: int,
    settings: Finetune,
    own: TestTime,
) -> Outcome:
    """Train a model on a task and leave it with the weights of the lowest held-out loss.

    The result does not depend on what the model was trained on before. Where the status is not
    `adapted`, the model is left with its start.

    Args:
        model: A model with an adapter.
        start: The weights to start from.
        task: The task, for its name.
        found: Its data.
        seed: Seed of dropout.
        settings: The settings of the fine-tune that the task's own do not replace.
        own: The settings of test-time fine-tuning.
    """
    put(model, start)
    # Torch draws the dropout; a task's is the same whatever the tasks before it.
    torch.manual_seed(randomness.derived(seed, _purpose(task)))
    loop = _Loop(model, found, settings, own)
    try:
        outcome = loop.run()
    except NotFiniteError as error:
        outcome = loop.ended("failed", str(error))
    except torch.OutOfMemoryError:
        outcome = loop.ended("failed", "out of memory")
    model.zero_grad()
    put(model, loop.best if outcome.status == "adapted" else start)
    return outcome


class _Loop:
    """The training on one task and the account of it."""

    def __init__(
        self, model: adapters.Tuned, found: Data, settings: Finetune, own: TestTime
    ) -> None:
        self.model = model
        self.found = found
        self.settings = settings
        self.own = own
        self.trained = [one for one in model.parameters() if one.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.trained, lr=own.learning_rate, weight_decay=settings.weight_decay
        )
        self.scheduler = schedule.scheduler(self.optimizer, settings, own.steps)
        self.best: Weights = {}
        self.step = self.best_step = 0
        self.losses: dict[int, float] = {}

    def run(self) -> Outcome:
        if self.settings.gradient_checkpointing:
            # What is checkpointed has inputs without a gradient, which the other way needs.
            how = {"use_reentrant": False}
            self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=how)
        self._measure()
        reason = "all steps done"
        while self.step < self.own.steps:
            self._train()
            if self.step % self.own.eval_every == 0 or self.step == self.own.steps:
                self._measure()
                since = sum(step > self.best_step for step in self.losses)
                if since >= self.own.patience:
                    reason = "stopped early"
                    break
        return self.ended("adapted" if self.best_step else "unchanged", reason)

    def ended(self, status: Literal["adapted", "unchanged", "failed"], reason: str) -> Outcome:
        """Return the outcome as of now."""
        before, kept = self.losses.get(0), status != "failed"
        return Outcome(
            status=status,
            reason=reason,
            steps=self.step,
            best_step=self.best_step if kept else None,
            loss_before=before,
            loss_after=self.losses[self.best_step] if kept else None,
        )

    def _measure(self) -> None:
        losses = prompt_losses(
            self.model, self.found.held_out, self.settings.eval_tokens, done=lambda _: None
        )
        loss = float(losses.sum() / sum(one.trained_tokens for one in self.found.held_out))
        if not np.isfinite(loss):
            raise NotFiniteError(f"the held-out loss is {loss} at step {self.step}")
        self.losses[self.step] = loss
        if loss < self.losses[self.best_step]:
            self.best_step, self.best = self.step, weights(self.model)

    def _train(self) -> None:
        """Take one step, with the loss that a step of the fine-tune has."""
        self.model.train()
        places = range(self.step * self.own.batch, (self.step + 1) * self.own.batch)
        chosen = [self.found.samples[place % len(self.found.samples)] for place in places]
        tokens = sum(one.trained_tokens for one in chosen)
        self.optimizer.zero_grad()
        loss = torch.zeros((), device=self.trained[0].device)
        for row in packs([len(one.input_ids) for one in chosen], self.settings.micro_tokens):
            part = token_losses(self.model, [chosen[number] for number in row]).sum() / tokens
            part.backward()
            loss += part.detach()
        norm = torch.nn.utils.clip_grad_norm_(self.trained, self.settings.max_grad_norm)
        # Neither is, unless both are, so that a GPU is waited for once.
        if not torch.isfinite(loss + norm):
            raise NotFiniteError(
                f"the loss is {loss.item()} and the gradient's norm {norm.item()}"
                f" at step {self.step + 1}"
            )
        self.optimizer.step()
        self.scheduler.step()
        self.step += 1


def _purpose(task: Task) -> str:
    return f"adapt/{task.source}/{task.split}/{task.id}"


def _skipped(reason: str) -> Outcome:
    return Outcome("skipped", reason, 0, None, None, None)
