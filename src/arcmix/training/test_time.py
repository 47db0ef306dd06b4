"""Test-time fine-tuning of single tasks: an adapter for each, from weights common to all tasks.

Iteration 13 of arc24 fine-tuned a model for each task. Here the model is loaded once, and the
adapters of several tasks train side by side (`models.stacked`): in each step, the samples of all
these tasks are packed into rows. A task has its own loss, gradient norm, dropout and early
stopping, so its adapter does not depend on the others, except by rounding.

The samples are augmented demonstrations, each held out in turn; a task's tests are not used. The
loss on the held-out demonstrations without augmentation decides when training stops and which
weights are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from arcmix import randomness
from arcmix.config.params import Augment
from arcmix.config.scales import Finetune, TestTime
from arcmix.models import adapters
from arcmix.models.packing import packs
from arcmix.models.stacked import MixedError, Stack, moved
from arcmix.sampling import augment, narrow, sample_table
from arcmix.tasks import Task
from arcmix.text.fastpath import Tokenize
from arcmix.text.tokenization import Example
from arcmix.training import corpus, schedule
from arcmix.training.outcomes import Outcome


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
    data = Data(
        [one for _, one in corpus.fitting(tokenize, augmented, settings)],
        held_out(task, tokenize_held_out, settings),
    )
    if not data.samples or not data.held_out:
        return _skipped(f"no sample of at most {settings.max_tokens} tokens")
    return data


def held_out(task: Task, tokenize: Tokenize, settings: Finetune) -> list[Example]:
    """Return each demonstration as the test in a prompt with the others, if it is short enough.

    Args:
        task: The task.
        tokenize: Tokenizes held-out demonstrations.
        settings: The maximum length, and whether longer prompts are shortened.
    """
    entries = narrow.leave_out(task, 1)
    if not entries:
        return []
    unchanged = sample_table.from_pairs([(*entry.train, *entry.test) for entry in entries])
    return [one for _, one in corpus.fitting(tokenize, unchanged, settings)]


def adapt(
    model: adapters.Tuned,
    start: torch.Tensor,
    work: Sequence[tuple[Task, Data]],
    seed: int,
    settings: Finetune,
    test_time: TestTime,
) -> list[tuple[Outcome, torch.Tensor]]:
    """Train an adapter for each of some tasks; return the outcomes and the weights to keep.

    The weights have the lowest held-out loss; they are the initial ones unless the status is
    `adapted`. The model keeps its own weights. If the tasks together run out of memory, or a loss
    is not finite, each half of them trains apart, so that only the task with the error fails.

    Args:
        model: A model with an adapter.
        start: The initial weights (`stacked.weights`).
        work: The tasks and their training data; several only if `stacked.can_stack`. The name of
            a task is part of the seed of its dropout.
        seed: Seed of the dropout.
        settings: The settings of the fine-tune; `test_time` overrides some of them.
        test_time: The settings of test-time fine-tuning.
    """
    if not work:
        return []
    tasks = [_Own(_purpose(task), data, start) for task, data in work]
    try:
        with Stack(model, start, len(work)) as stack:
            _Loop(stack, tasks, seed, settings, test_time).run()
        return [(own.outcome(own.status, own.reason), own.best) for own in tasks]
    except torch.OutOfMemoryError:
        reason = "out of memory"
    except (NotFiniteError, MixedError) as error:
        reason = str(error)
    if len(work) == 1:
        return [(tasks[0].outcome("failed", reason), start)]
    half = len(work) // 2
    return [
        one
        for part in (work[:half], work[half:])
        for one in adapt(model, start, part, seed, settings, test_time)
    ]


@dataclass
class _Own:
    """What a task has for itself in the training loop."""

    purpose: str
    """Purpose of the random numbers of its dropout."""
    data: Data
    best: torch.Tensor
    """The weights of the lowest loss."""
    best_step: int = 0
    steps: int = 0
    """Number of steps taken."""
    losses: dict[int, float] = field(default_factory=dict)
    """Step -> the held-out loss."""
    reason: str = ""
    """Why training has ended; empty before."""

    @property
    def status(self) -> Literal["adapted", "unchanged"]:
        """The status of a task that has not failed."""
        return "adapted" if self.best_step else "unchanged"

    def outcome(self, status: Literal["adapted", "unchanged", "failed"], reason: str) -> Outcome:
        """Return the outcome of the steps taken so far."""
        before, kept = self.losses.get(0), status != "failed"
        return Outcome(
            status=status,
            reason=reason,
            steps=self.steps,
            best_step=self.best_step if kept else None,
            loss_before=before,
            loss_after=self.losses[self.best_step] if kept else None,
        )


@dataclass(frozen=True)
class _Part:
    """Samples of one task that are read in one pass."""

    task: int
    """Index of the task among those that train."""
    number: int
    """Number of the part among those of the task in this step."""
    samples: Sequence[Example]
    scale: float
    """Weight of the loss of a token: one over the number of tokens of the task in this step."""

    @property
    def length(self) -> int:
        return sum(len(one.input_ids) for one in self.samples)


class _Loop:
    """The training loop on some tasks, of which those that have not ended train."""

    def __init__(
        self,
        stack: Stack,
        tasks: Sequence[_Own],
        seed: int,
        settings: Finetune,
        test_time: TestTime,
    ) -> None:
        self.stack = stack
        self.model = stack.model
        self.seed = seed
        self.settings = settings
        self.test_time = test_time
        self.training = [*tasks]
        # AdamW is elementwise, so one optimizer treats each task as its own would.
        self.optimizer = torch.optim.AdamW(
            [stack.weights],
            lr=test_time.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.scheduler = schedule.scheduler(self.optimizer, settings, test_time.steps)
        self.step = 0

    def run(self) -> None:
        if self.settings.gradient_checkpointing:
            # Reentrant checkpointing needs inputs with gradients, and these inputs have none.
            options = {"use_reentrant": False}
            self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
        self._measure()
        while self.training and self.step < self.test_time.steps:
            self._train()
            if self.step % self.test_time.eval_every == 0 or self.step == self.test_time.steps:
                self._measure()
                self._end()

    def _measure(self) -> None:
        """Measure the held-out losses, and copy the weights of those that are new minima."""
        found = self._held_out()
        for number, own in enumerate(self.training):
            loss = float(found[number] / sum(one.trained_tokens for one in own.data.held_out))
            if not np.isfinite(loss):
                raise NotFiniteError(f"the held-out loss is {loss} at step {self.step}")
            own.losses[self.step] = loss
            if loss < own.losses[own.best_step]:
                own.best_step = self.step
                own.best = self.stack.weights[number].detach().clone()

    @torch.inference_mode()
    def _held_out(self) -> np.ndarray:
        """Return the summed loss of each task on its demonstrations, float64 (tasks,)."""
        self.model.eval()
        examples = [one for own in self.training for one in own.data.held_out]
        counts = [len(own.data.held_out) for own in self.training]
        tasks = np.repeat(np.arange(len(counts)), counts)
        order: list[int] = []
        losses: list[torch.Tensor] = []
        for row in packs([len(one.input_ids) for one in examples], self.settings.eval_tokens):
            row.sort(key=lambda index: tasks[index])
            parts: list[list[Example]] = [[] for _ in self.training]
            for index in row:
                parts[tasks[index]].append(examples[index])
            losses.append(self.stack.losses(parts))
            order += row
        # One transfer from the GPU for all rows.
        whole = torch.cat(losses).double().cpu().numpy()
        trained = [examples[index].trained_tokens for index in order]
        return np.bincount(np.repeat(tasks[order], trained), whole, len(counts))

    def _end(self) -> None:
        """End the tasks that have taken all steps, or whose loss has stopped improving."""
        for own in self.training:
            if sum(step > own.best_step for step in own.losses) >= self.test_time.patience:
                own.reason = "stopped early"
            elif self.step == self.test_time.steps:
                own.reason = "all steps done"
        kept = [number for number, own in enumerate(self.training) if not own.reason]
        if 0 < len(kept) < len(self.training):
            self.stack.keep(kept)
            state = self.optimizer.state[self.stack.weights]
            for name, value in state.items():
                if value.ndim:  # the number of steps is a scalar, the moments are not
                    state[name] = value[kept]
        self.training = [self.training[number] for number in kept]

    def _train(self) -> None:
        """Take one optimizer step, with the same loss of each task as in the fine-tune."""
        self.model.train()
        self.optimizer.zero_grad(set_to_none=False)
        loss = torch.zeros((), device=self.stack.weights.device)
        parts = [part for number in range(len(self.training)) for part in self._parts(number)]
        for row in packs([part.length for part in parts], self.settings.micro_tokens):
            chosen = sorted((parts[index] for index in row), key=lambda part: part.task)
            loss += self._backward(chosen)
        norms = torch.linalg.vector_norm(self.stack.gradients, dim=1)
        # The sum is finite only if all are, so one check synchronizes the GPU once.
        if not torch.isfinite(loss + norms.sum()):
            raise NotFiniteError(
                f"the loss is {loss.item()} and the gradient's norm {norms.sum().item()}"
                f" at step {self.step + 1}"
            )
        # As torch.nn.utils.clip_grad_norm_ does it.
        factors = (self.settings.max_grad_norm / (norms + 1e-6)).clamp(max=1.0)
        self.stack.gradients.mul_(factors[:, None])
        self.optimizer.step()
        self.scheduler.step()
        self.step += 1
        for own in self.training:
            own.steps = self.step

    def _parts(self, task: int) -> list[_Part]:
        """Return the samples of a task in this step, packed as if the task were alone."""
        data, batch = self.training[task].data, self.test_time.batch
        positions = range(self.step * batch, (self.step + 1) * batch)
        samples = [data.samples[position % len(data.samples)] for position in positions]
        scale = 1 / sum(one.trained_tokens for one in samples)
        rows = packs([len(one.input_ids) for one in samples], self.settings.micro_tokens)
        return [
            _Part(task, number, [samples[index] for index in row], scale)
            for number, row in enumerate(rows)
        ]

    def _backward(self, parts: Sequence[_Part]) -> torch.Tensor:
        """Add the gradients of a row, with at most one part of each task; return its loss."""
        samples: list[Sequence[Example]] = [()] * len(self.training)
        seeds = np.zeros((len(self.training), self.stack.dropouts), np.uint64)
        for part in parts:
            samples[part.task] = part.samples
            if self.stack.dropouts:
                purpose = f"{self.training[part.task].purpose}/dropout/{part.number}"
                [seeds[part.task]] = randomness.words(
                    self.seed, purpose, self.step, 1, self.stack.dropouts
                )
        counts = [sum(one.trained_tokens for one in part.samples) for part in parts]
        scales = np.repeat(np.array([part.scale for part in parts], np.float32), counts)
        losses = self.stack.losses(samples, seeds)
        loss = (losses * moved(scales, losses.device)).sum()
        loss.backward()
        return loss.detach()


def _purpose(task: Task) -> str:
    return f"adapt/{task.source}/{task.split}/{task.id}"


def _skipped(reason: str) -> Outcome:
    return Outcome("skipped", reason, 0, None, None, None)
