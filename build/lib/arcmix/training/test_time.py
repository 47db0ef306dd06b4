"""Test-time fine-tuning on one task: an adapter of its own, from weights common to all tasks.

Iteration 13 of arc24 fine-tuned a model for each task. Here the model is loaded once, and the
initial weights are restored in place between tasks. Training is a plain loop, because creating a
Trainer for each task would often take longer than training on the task.

The samples are augmented demonstrations, each held out in turn; a task's tests are not used. The
loss on the held-out demonstrations without augmentation decides when training stops and which
weights are kept.
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
"""Name of each trainable weight -> its copy on the CPU."""


@dataclass(frozen=True)
class Data:
    """The samples and the held-out demonstrations of a task, as token ids."""

    samples: Sequence[Example]
    """Training samples; after the last one, the first one follows."""
    held_out: Sequence[Example]
    """Each demonstration, unchanged, as the test in a prompt with the others."""


class NotFiniteError(ArithmeticError):
    """A loss or a gradient that is not finite."""


def prepare(
    task: Task,
    tokenize: Tokenize,
    tokenize_held_out: Tokenize,
    augmentation: Augment,
    seed: int,
    settings: Finetune,
    test_time: TestTime,
) -> Data | Outcome:
    """Return the training data of a task, or the outcome `skipped` if it has none.

    Args:
        task: The task.
        tokenize: Tokenizes training samples.
        tokenize_held_out: Tokenizes held-out demonstrations; only their answers carry loss.
        augmentation: The augmentation of the samples.
        seed: Seed of the experiment; each task derives a seed of its own.
        settings: The maximum length, and whether longer samples are shortened.
        test_time: The number of steps and the batch size.
    """
    entries = narrow.leave_out(task, 1)
    if not entries:
        return _skipped("fewer than 2 demonstrations")
    augmented = augment.draw(
        augment.pool(entries),
        np.arange(len(entries)),
        augmentation,
        randomness.derived(seed, _purpose(task)),
        0,
        test_time.steps * test_time.batch,
    )
    unchanged = sample_table.from_pairs([(*entry.train, *entry.test) for entry in entries])
    data = Data(
        [one for _, one in corpus.fitting(tokenize, augmented, settings)],
        [one for _, one in corpus.fitting(tokenize_held_out, unchanged, settings)],
    )
    if not data.samples or not data.held_out:
        return _skipped(f"no sample of at most {settings.max_tokens} tokens")
    return data


def weights(model: adapters.Tuned) -> Weights:
    """Return copies of the trainable weights on the CPU."""
    return {
        name: one.detach().to("cpu", copy=True)
        for name, one in model.named_parameters()
        if one.requires_grad
    }


@torch.no_grad()
def restore(model: adapters.Tuned, saved: Weights) -> None:
    """Set the trainable weights of a model in place, to those that `weights` returned."""
    for name, one in model.named_parameters():
        if one.requires_grad:
            one.copy_(saved[name])


def adapt(
    model: adapters.Tuned,
    start: Weights,
    task: Task,
    data: Data,
    seed: int,
    settings: Finetune,
    test_time: TestTime,
) -> Outcome:
    """Train a model on a task, and leave it with the weights of the lowest held-out loss.

    The result does not depend on earlier training of the model. If the status is not `adapted`,
    the model has the initial weights afterwards.

    Args:
        model: A model with an adapter.
        start: The initial weights.
        task: The task; its name is part of the seed of the dropout.
        data: The training data of the task.
        seed: Seed of the dropout.
        settings: The settings of the fine-tune; `test_time` overrides some of them.
        test_time: The settings of test-time fine-tuning.
    """
    restore(model, start)
    # Torch draws the dropout. The seed makes it independent of the tasks before this one.
    torch.manual_seed(randomness.derived(seed, _purpose(task)))
    loop = _Loop(model, data, settings, test_time)
    try:
        outcome = loop.run()
    except NotFiniteError as error:
        outcome = loop.outcome("failed", str(error))
    except torch.OutOfMemoryError:
        outcome = loop.outcome("failed", "out of memory")
    model.zero_grad()
    restore(model, loop.best if outcome.status == "adapted" else start)
    return outcome


class _Loop:
    """The training loop on one task, with its losses and its best weights."""

    def __init__(
        self, model: adapters.Tuned, data: Data, settings: Finetune, test_time: TestTime
    ) -> None:
        self.model = model
        self.data = data
        self.settings = settings
        self.test_time = test_time
        self.trained = [one for one in model.parameters() if one.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.trained, lr=test_time.learning_rate, weight_decay=settings.weight_decay
        )
        self.scheduler = schedule.scheduler(self.optimizer, settings, test_time.steps)
        self.best: Weights = {}
        self.step = self.best_step = 0
        self.losses: dict[int, float] = {}

    def run(self) -> Outcome:
        if self.settings.gradient_checkpointing:
            # Reentrant checkpointing needs inputs with gradients, and these inputs have none.
            options = {"use_reentrant": False}
            self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
        self._measure()
        reason = "all steps done"
        while self.step < self.test_time.steps:
            self._train()
            if self.step % self.test_time.eval_every == 0 or self.step == self.test_time.steps:
                self._measure()
                without_improvement = sum(step > self.best_step for step in self.losses)
                if without_improvement >= self.test_time.patience:
                    reason = "stopped early"
                    break
        return self.outcome("adapted" if self.best_step else "unchanged", reason)

    def outcome(self, status: Literal["adapted", "unchanged", "failed"], reason: str) -> Outcome:
        """Return the outcome of the steps taken so far."""
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
            self.model, self.data.held_out, self.settings.eval_tokens, done=lambda _: None
        )
        loss = float(losses.sum() / sum(one.trained_tokens for one in self.data.held_out))
        if not np.isfinite(loss):
            raise NotFiniteError(f"the held-out loss is {loss} at step {self.step}")
        self.losses[self.step] = loss
        if loss < self.losses[self.best_step]:
            self.best_step, self.best = self.step, weights(self.model)

    def _train(self) -> None:
        """Take one optimizer step, with the same loss as in the fine-tune."""
        self.model.train()
        positions = range(self.step * self.test_time.batch, (self.step + 1) * self.test_time.batch)
        chosen = [self.data.samples[position % len(self.data.samples)] for position in positions]
        tokens = sum(one.trained_tokens for one in chosen)
        self.optimizer.zero_grad()
        loss = torch.zeros((), device=self.trained[0].device)
        for row in packs([len(one.input_ids) for one in chosen], self.settings.micro_tokens):
            part = token_losses(self.model, [chosen[number] for number in row]).sum() / tokens
            part.backward()
            loss += part.detach()
        norm = torch.nn.utils.clip_grad_norm_(self.trained, self.settings.max_grad_norm)
        # The sum is finite only if both are, so one check synchronizes the GPU once.
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
