"""What is measured of a fine-tune: its account of the steps, and the validation loss between them.

A checkpoint holds the account up to it, so that a run that goes on there has all of it.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import accelerate
import numpy as np
import pandas as pd
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from arcmix import files
from arcmix.models import adapters, parallel
from arcmix.models.loss import prompt_losses
from arcmix.training.optimizer import load_state
from arcmix.training.plan import Plan

MEASURED = "measured.json"
"""The file of a checkpoint that is written last: where it is, the checkpoint is whole."""


@dataclass(frozen=True)
class Measurement:
    """The state of a fine-tune after a step."""

    step: int
    """Optimizer steps done."""
    samples: int
    """Training samples seen."""
    epochs: float
    """Passes over the training samples that fit."""
    answer_tokens: int
    """Tokens that carried loss."""
    learning_rate: float
    """Learning rate of the last step; 0 before the first."""
    train_loss: float | None
    """Mean loss of such a token since the previous measurement; none at step 0."""
    val_loss: float
    """Mean loss of an answer token over all validation prompts."""
    tokens_per_second: float | None
    """Tokens trained on since then, prompts included, a second of training; none at step 0."""
    answer_tokens_per_second: float | None
    """The same of the tokens that carried loss."""
    seconds_per_step: float | None
    """The same of optimizer steps, the inverse."""
    losses: tuple[float, ...]
    """Summed loss of each validation prompt."""


def write_history(path: Path, found: Sequence[Measurement]) -> None:
    """Write the table of measurements, one row each, without the losses of single prompts."""
    table = pd.DataFrame([asdict(one) for one in found])
    files.write_csv(path, table.drop(columns="losses"))


class Measure(TrainerCallback):
    """Keeps account of the steps and measures the validation loss between them.

    Args:
        model: What is trained.
        plan: What on, and how.
        report: Called with all measurements so far after each of them.
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
        self.trained = plan.per_step([one.trained_tokens for one in plan.samples])
        self.tokens = plan.per_step([len(one.input_ids) for one in plan.samples])
        self.found: list[Measurement] = []
        self.losses: list[float] = []
        self.rows: list[tuple[list[int], torch.Tensor]] = []
        self.rate = 0.0
        self.seconds = 0.0
        self.started = 0.0

    def restore(self, checkpoint: Path) -> None:
        """Take up the account where a checkpoint left it."""
        for one in files.read_json(checkpoint / MEASURED):
            values: dict[str, Any] = one | {"losses": tuple(one["losses"])}
            self.found.append(Measurement(**values))

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
        """Measure the model as it starts, unless it goes on from a checkpoint."""
        del args, state, control
        if self.found:  # a checkpoint has brought its own
            return
        if self.plan.state is not None:
            load_state(
                self.plan.state,
                optimizer,
                self.model.named_parameters(),
                self.plan.settings.optimizer,
                [float(rate) for rate in lr_scheduler.get_last_lr()],
            )
        self._measure(0)

    def on_step_begin(self, *_: object, **__: object) -> None:
        """Note the time."""
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
        """Enter a step, and measure after it if it is its turn."""
        del args, control
        # One entry a step, and one without a loss when the training is over.
        if logs is None or "loss" not in logs:
            return
        step, batch = state.global_step, self.plan.settings.batch
        # Once a step, and here: a look at each row would stop a GPU each time, and all processes
        # come here, to end with the same error.
        if not math.isfinite(logs["loss"]):
            raise _not_finite("the loss", logs["loss"], step, self._suspects())
        if not math.isfinite(norm := logs["grad_norm"]):
            numbers = self.plan.order[(step - 1) * batch : step * batch].tolist()
            raise _not_finite("the gradient's norm", norm, step, numbers)
        self.losses.append(logs["loss"])
        self.rate = logs["learning_rate"]
        if step % self.plan.settings.eval_every == 0 or step == self.plan.steps:
            self._measure(step)

    def _suspects(self) -> list[int]:
        """Return the samples of rows whose loss is not finite, in whichever process."""
        mine = [number for row, loss in self.rows if not loss.isfinite() for number in row]
        return sorted(accelerate.utils.gather_object(mine))

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Write the account into the checkpoint."""
        del control
        # Each has a file of its own in there.
        parallel.state().wait_for_everyone()
        if parallel.is_main():
            folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            files.write_json(folder / MEASURED, [asdict(one) for one in self.found])

    def _measure(self, step: int) -> None:
        since = slice(self.found[-1].step if self.found else 0, step)
        losses = self._prompt_losses()
        answers = sum(one.trained_tokens for one in self.plan.validation)
        samples = step * self.plan.settings.batch
        trained, tokens = self.trained[since], self.tokens[since]
        measurement = Measurement(
            step=step,
            samples=samples,
            epochs=samples / len(self.plan.samples),
            answer_tokens=int(self.trained[:step].sum()),
            learning_rate=self.rate,
            train_loss=float(np.average(self.losses, weights=trained)) if step else None,
            val_loss=float(losses.sum() / answers),
            tokens_per_second=float(tokens.sum() / self.seconds) if step else None,
            answer_tokens_per_second=float(trained.sum() / self.seconds) if step else None,
            seconds_per_step=self.seconds / len(trained) if step else None,
            losses=tuple(losses.tolist()),
        )
        self.losses, self.seconds = [], 0.0
        self.found.append(measurement)
        self.report(self.found)

    def _prompt_losses(self) -> np.ndarray:
        """Return the loss of each validation prompt, the work shared among the processes."""
        shared = parallel.state()
        mine = range(shared.process_index, len(self.plan.validation), shared.num_processes)
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
        f"{what} is {value} at step {step}, samples {samples};"
        " lower the learning rate or train in float32"
    )
