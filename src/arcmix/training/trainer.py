"""The training loop of the fine-tune: TRL's trainer on token ids, with checkpoints.

The samples of a step are packed into rows without padding. The loss of a step is the mean over all
tokens that carry loss; it does not depend on the packing or on the number of processes.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase, PrinterCallback, TrainerCallback
from transformers.integrations.integration_utils import get_available_reporting_integrations
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from arcmix.models import adapters, parallel
from arcmix.models.loss import in_memory, token_losses
from arcmix.models.packing import packs
from arcmix.text.tokenization import Example
from arcmix.training import schedule
from arcmix.training.measurement import Measure, Measurement
from arcmix.training.plan import Plan

OPTIMIZERS = {"adamw": "adamw_torch", "paged_adamw_8bit": "paged_adamw_8bit"}
"""Our name of an optimizer -> the Trainer's name."""

ON_CARD = {"adamw": "adamw_torch_fused"}
"""As `OPTIMIZERS`, where another implementation takes fewer kernels of a card for the same step."""

TRACKERS = {
    "tensorboard": "TENSORBOARD_LOGGING_DIR",
    "wandb": "WANDB_DIR",
    "mlflow": "MLFLOW_TRACKING_URI",
}
"""Name of a tracker -> the environment variable with the place that it writes to."""


def prepare_tracker(name: str, folder: Path) -> None:
    """Make a tracker write to a folder, unless its environment variable is set.

    Args:
        name: Name of the tracker, or `none`.
        folder: A folder that no other run writes to.

    Raises:
        ValueError: If the tracker is not installed.
    """
    if name == "none":
        return
    if name not in get_available_reporting_integrations():
        raise ValueError(
            f"report_to {name} needs the package {name}, which is not installed;"
            f" pip install {name}, or set report_to to none"
        )
    if name == "wandb":
        folder.mkdir(parents=True, exist_ok=True)  # otherwise it writes to /tmp
    os.environ.setdefault(TRACKERS[name], str(folder.resolve()))


def train(
    model: adapters.Tuned,
    tokenizer: PreTrainedTokenizerBase,
    plan: Plan,
    folder: Path,
    last: Path | None,
    report: Callable[[Sequence[Measurement]], None],
) -> tuple[list[Measurement], torch.optim.Optimizer | None]:
    """Train a model; return all measurements, and the optimizer after the last step.

    A plan without steps measures the model as it is, and has no optimizer.

    Args:
        model: The model; its trainable weights require gradients.
        tokenizer: Its tokenizer.
        plan: The samples, their order and the settings.
        folder: The work folder (`checkpoints`): a checkpoint for each measurement after step 0,
            and the weights of the lowest loss.
        last: The checkpoint to resume from; none to start at step 0.
        report: Called with all measurements so far, those of a checkpoint included, at step 0,
            every `eval_every` steps and after the last step. The model then still has the
            weights that were measured.

    Raises:
        ValueError: If the loss or the gradient is not finite (the message names the step and the
            samples), if the processes cannot share the batch equally, or if they split the weights.
    """
    measure = Measure(model, plan, report)
    if not plan.steps:
        measure.measure(0, folder)
        return measure.measurements, None
    runner = trainer(model, tokenizer, plan, folder, measure)
    measure.rows = runner.rows
    if last is not None:
        measure.restore(last)
    runner.train(resume_from_checkpoint=None if last is None else str(last))
    # After this, no process reads the folder any more, so the caller may remove it.
    parallel.state().wait_for_everyone()
    return measure.measurements, cast("torch.optim.Optimizer", runner.optimizer)


def trainer(
    model: adapters.Tuned,
    tokenizer: PreTrainedTokenizerBase,
    plan: Plan,
    folder: Path,
    callback: TrainerCallback,
) -> "_Trainer":
    """Return a trainer for a plan, before its first step.

    Args:
        model: The model; its trainable weights require gradients.
        tokenizer: Its tokenizer.
        plan: The samples, their order and the settings.
        folder: Folder for checkpoints.
        callback: A callback in addition to the Trainer's own.
    """
    runner = _Trainer(
        model=model,
        args=_arguments(plan, folder),
        train_dataset=_dataset(plan),
        data_collator=_collate,
        processing_class=tokenizer,
        callbacks=[callback],
    )
    runner.plan, runner.rows = plan, []
    runner.trained_per_step = plan.per_step([one.trained_tokens for one in plan.samples])
    # This callback prints the values of each step.
    runner.remove_callback(PrinterCallback)
    return runner


def _arguments(plan: Plan, folder: Path) -> SFTConfig:
    settings = plan.settings
    for kind in ("fsdp", "deepspeed"):
        if os.environ.get(f"ACCELERATE_USE_{kind.upper()}") == "true":
            raise ValueError(
                f"{kind} splits the weights over the processes, which is not supported: each"
                " process needs the whole model; launch with --config_file launch/ddp.yaml"
            )
    count = parallel.state().num_processes
    if settings.batch % count:
        raise ValueError(
            f"{count} processes cannot share a batch of {settings.batch} samples equally;"
            " choose a number of processes that divides finetune.batch"
        )
    on_card = torch.cuda.is_available()
    arguments = SFTConfig(
        output_dir=str(folder),
        use_cpu=not on_card,
        max_steps=plan.steps,
        per_device_train_batch_size=settings.batch // count,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim=(OPTIMIZERS | ON_CARD if on_card else OPTIMIZERS)[settings.optimizer],
        seed=plan.seed,
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        # The weights have their final dtype. Autocast would convert them at each use, which is
        # 14 times slower on a CPU.
        bf16=False,
        fp16=False,
        gradient_checkpointing=settings.gradient_checkpointing,
        max_length=None,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=settings.eval_every,
        # The previous checkpoint stays until the last one is complete.
        save_total_limit=2,
        report_to=plan.report_to,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
    )
    # Each process uses one GPU. Otherwise the Trainer would use all visible GPUs, with a batch for
    # each.
    arguments._n_gpu = min(arguments.n_gpu, 1)  # noqa: SLF001 - no argument sets it
    return arguments


def _dataset(plan: Plan) -> Dataset:
    # Arrow arrays, because lists of Python integers would take ten times the memory.
    ends = np.cumsum([0, *(len(one.input_ids) for one in plan.samples)])
    columns = {
        "number": np.arange(len(plan.samples)),
        "input_ids": pa.LargeListArray.from_arrays(
            ends, np.concatenate([one.input_ids for one in plan.samples])
        ),
        "trained": pa.LargeListArray.from_arrays(
            ends, pa.array(np.concatenate([one.trained for one in plan.samples]))
        ),
    }
    return Dataset(pa.table(columns)).with_format("numpy").select(plan.order)


def _collate(rows: Sequence[dict[str, np.ndarray]]) -> dict[str, list[np.ndarray]]:
    # Renamed, because the Trainer expects a tensor in "input_ids".
    columns = {"number": "number", "ids": "input_ids", "trained": "trained"}
    return {key: [row[column] for row in rows] for key, column in columns.items()}


class _Trainer(SFTTrainer):
    """TRL's trainer with packed rows instead of padded batches.

    TRL's own fused output layer gives the same loss, but its float32 tiles are slower on a CPU.
    """

    plan: Plan
    trained_per_step: np.ndarray
    """Number of tokens that carry loss in each step, of all processes, int64 (steps,)."""
    rows: list[tuple[list[int], torch.Tensor]]
    """Sample indices and loss of each row in the last step."""

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Create the learning rate scheduler of the plan."""
        optimizer = optimizer or cast("torch.optim.Optimizer", self.optimizer)
        self.lr_scheduler = schedule.scheduler(optimizer, self.plan.settings, num_training_steps)
        return self.lr_scheduler

    def training_step(  # pyright: ignore[reportIncompatibleMethodOverride] - not typed there
        self,
        model: torch.nn.Module,
        inputs: dict[str, list[np.ndarray]],
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Add the gradient of this process's samples; return their part of the mean loss."""
        del num_items_in_batch  # it counts labels, and the inputs have none
        model.train()
        samples = [
            Example(ids, trained)
            for ids, trained in zip(inputs["ids"], inputs["trained"], strict=True)
        ]
        # Gradients are averaged over processes, but the loss is a mean over all tokens. The plan
        # knows their number in all processes, so no process waits for it.
        scale = self.accelerator.num_processes / int(self.trained_per_step[self.state.global_step])
        rows = packs([len(one.input_ids) for one in samples], self.plan.settings.micro_tokens)
        self.rows.clear()
        for row in rows:
            last = row is rows[-1]
            chosen = [samples[number] for number in row]
            with (
                contextlib.nullcontext() if last else self.accelerator.no_sync(model),
                in_memory("finetune.micro_tokens", chosen),
            ):
                loss = token_losses(model, chosen).sum() * scale
                self.accelerator.backward(loss)
            numbers = [int(inputs["number"][number]) for number in row]
            self.rows.append((numbers, loss.detach()))
        return torch.stack([loss for _, loss in self.rows]).sum()

    def _save(self, output_dir: str | None = None, state_dict: object = None) -> None:
        # The Trainer's own method would write all embeddings as well. All ranks call this method.
        del state_dict
        if parallel.is_main():
            unwrapped = self.accelerator.unwrap_model(self.model)
            adapters.save(cast("adapters.Tuned", unwrapped), Path(str(output_dir)))
