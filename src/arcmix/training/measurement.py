"""Measurements of a fine-tune: training loss, validation loss, tokens and speed.

Each checkpoint holds all measurements up to it, so a run that resumes there has a full history.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import accelerate
import numpy as np
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from arcmix.models import adapters, parallel
from arcmix.models.loss import prompt_losses
from arcmix.training import checkpoints, history
from arcmix.training.optimizer import load_state
from arcmix.training.plan import Plan


@dataclass(frozen=True)
class Measurement(history.Entry):
    """An entry of the history, with the losses that it averages."""

    losses: tuple[float, ...]
    """Summed loss of each validation prompt, in nats."""


def losses_by_step(measurements: Sequence[Measurement]) -> dict[int, float]:
    """Return the validation loss of each measurement."""
    return {one.step: one.val_loss for one in measurements}


class Measure(TrainerCallback):
    """Records each step, and measures the validation loss every `eval_every` steps.

    The weights of the lowest loss are saved in the work folder (`checkpoints`).

    Args:
        model: The model that is trained.
        plan: The samples, the validation prompts and the settings.
        report: Called after each measurement with all measurements so far.
    """

    def __init__(
        self,
        model: adapters.Tuned,
        plan: Plan,
        report: Callable[[Sequence[Measurement]], None],
    ) -> None:
        self.model = model
        self.plan = plan
        self.report = report
        self.trained_per_step = plan.per_step([one.trained_tokens for one in plan.samples])
        self.tokens_per_step = plan.per_step([len(one.input_ids) for one in plan.samples])
        self.measurements: list[Measurement] = []
        self.step_losses: list[float] = []
        self.rows: list[tuple[list[int], torch.Tensor]] = []
        self.learning_rate = 0.0
        self.seconds = 0.0
        self.started = 0.0

    def restore(self, checkpoint: Path) -> None:
        """Load the measurements of a checkpoint."""
        for one in checkpoints.measured(checkpoint):
            values: dict[str, Any] = one | {"losses": tuple(one["losses"])}
            self.measurements.append(Measurement(**values))

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        optimizer: torch.optim.Optimizer,
        lr_scheduler: torch.optim.lr_scheduler.LRScheduler,
        **_: object,
    ) -> None:
        """Load the optimizer's state and measure the model, unless training resumes."""
        del state, control
        if self.measurements:  # restored from a checkpoint
            return
        if self.plan.state is not None:
            load_state(
                self.plan.state,
                optimizer,
                self.model.named_parameters(),
                self.plan.settings.optimizer,
                [float(rate) for rate in lr_scheduler.get_last_lr()],
            )
        self.measure(0, Path(str(args.output_dir)))

    def on_step_begin(self, *_: object, **__: object) -> None:
        """Start the timer of a step."""
        self.started = time.perf_counter()

    def on_step_end(self, *_: object, **__: object) -> None:
        """Add the time of the step."""
        self.seconds += time.perf_counter() - self.started

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: object,
    ) -> None:
        """Record a step, and measure the model if a measurement is due."""
        del control
        # The Trainer logs each step, and at the end a summary without a loss.
        if logs is None or "loss" not in logs:
            return
        step, batch = state.global_step, self.plan.settings.batch
        # Checking each row would synchronize the GPU each time. Here, all processes see the same
        # values, so all raise the same error.
        if not math.isfinite(logs["loss"]):
            raise _not_finite("the loss", logs["loss"], step, self._not_finite_samples())
        if not math.isfinite(norm := logs["grad_norm"]):
            numbers = self.plan.order[(step - 1) * batch : step * batch].tolist()
            raise _not_finite("the gradient norm", norm, step, numbers)
        self.step_losses.append(logs["loss"])
        self.learning_rate = logs["learning_rate"]
        if step % self.plan.settings.eval_every == 0 or step == self.plan.steps:
            self.measure(step, Path(str(args.output_dir)))

    def _not_finite_samples(self) -> list[int]:
        """Return the samples of the rows, in all processes, whose loss is not finite."""
        mine = [number for row, loss in self.rows if not loss.isfinite() for number in row]
        return sorted(accelerate.utils.gather_object(mine))

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Write the measurements to the checkpoint, which completes it."""
        del control
        # Each process writes its own file to the checkpoint.
        parallel.state().wait_for_everyone()
        if parallel.is_main():
            folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            checkpoints.complete(folder, [asdict(one) for one in self.measurements])

    def measure(self, step: int, folder: Path) -> None:
        """Measure the model, and save it in the work folder if its loss is the lowest.

        Args:
            step: Number of steps taken.
            folder: The work folder.
        """
        since = slice(self.measurements[-1].step if self.measurements else 0, step)
        losses = self._prompt_losses()
        answers = sum(one.trained_tokens for one in self.plan.validation)
        samples = step * self.plan.settings.batch
        trained, tokens = self.trained_per_step[since], self.tokens_per_step[since]
        measurement = Measurement(
            step=step,
            samples=samples,
            epochs=samples / max(1, len(self.plan.samples)),
            answer_tokens=int(self.trained_per_step[:step].sum()),
            tokens=int(self.tokens_per_step[:step].sum()),
            learning_rate=self.learning_rate,
            train_loss=float(np.average(self.step_losses, weights=trained)) if step else None,
            val_loss=float(losses.sum() / answers),
            tokens_per_second=float(tokens.sum() / self.seconds) if step else None,
            answer_tokens_per_second=float(trained.sum() / self.seconds) if step else None,
            seconds_per_step=self.seconds / len(trained) if step else None,
            losses=tuple(losses.tolist()),
        )
        self.step_losses, self.seconds = [], 0.0
        self.measurements.append(measurement)
        if parallel.is_main():
            checkpoints.save_best(self.model, folder, losses_by_step(self.measurements))
        self.report(self.measurements)

    def _prompt_losses(self) -> np.ndarray:
        """Return the loss of each validation prompt; the processes share the prompts."""
        state = parallel.state()
        mine = range(state.process_index, len(self.plan.validation), state.num_processes)
        losses = np.zeros(len(self.plan.validation))
        losses[mine] = prompt_losses(
            self.model,
            [self.plan.validation[number] for number in mine],
            self.plan.settings.eval_tokens,
            done=lambda _: None,
        )
        return parallel.all_reduce_sum(torch.from_numpy(losses)).numpy()


def _not_finite(what: str, value: float, step: int, samples: list[int]) -> ValueError:
    return ValueError(
        f"{what} must be finite, got {value} at step {step}, samples {samples};"
        " lower the learning rate or train in float32"
    )
