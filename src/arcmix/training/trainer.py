"""The fine-tune: TRL's trainer over token ids of our own, from one checkpoint to the next.

A step's samples are packed into rows without padding, and its loss is the mean over their
tokens that carry loss, however they were packed and however many processes share them.
"""

import contextlib
import os
import shutil
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
from arcmix.models.loss import token_losses
from arcmix.models.packing import packs
from arcmix.text.tokenization import Example
from arcmix.training import schedule
from arcmix.training.measurement import MEASURED, Measure, Measurement
from arcmix.training.plan import Plan

OPTIMIZERS = {"adamw": "adamw_torch", "paged_adamw_8bit": "paged_adamw_8bit"}
"""Our names of the optimizers -> the Trainer's."""

TRACKERS = {
    "tensorboard": "TENSORBOARD_LOGGING_DIR",
    "wandb": "WANDB_DIR",
    "mlflow": "MLFLOW_TRACKING_URI",
}
"""The Trainer's trackers -> the variable of the environment that says where each writes."""


def prepare_tracker(name: str, folder: Path) -> None:
    """Have a tracker write into a folder, unless the environment says otherwise.

    Args:
        name: A tracker, or none.
        folder: A folder of this run alone.

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
        folder.mkdir(parents=True, exist_ok=True)  # else it writes to /tmp
    os.environ.setdefault(TRACKERS[name], str(folder.resolve()))


def train(
    model: adapters.Tuned,
    tokenizer: PreTrainedTokenizerBase,
    plan: Plan,
    folder: Path,
    last: Path | None,
    report: Callable[[Sequence[Measurement]], None],
) -> tuple[list[Measurement], torch.optim.Optimizer]:
    """Train a model; return all measurements, and the optimizer as the last step left it.

    Args:
        model: The model; what is to train requires gradients.
        tokenizer: Its tokenizer.
        plan: What to train on and how.
        folder: Where checkpoints are kept, one at each measurement.
        last: The one of them where training goes on, or none to begin anew.
        report: Called at step 0, every `eval_every` steps and at the last, while the model is as
            it was measured, with all measurements up to then, those of a checkpoint included.

    Raises:
        ValueError: If the loss or the gradient is not finite; the message names the step and
            the samples.
    """
    measure = Measure(model, plan, report)
    made = trainer(model, tokenizer, plan, folder, measure)
    measure.rows = made.rows
    if last is not None:
        measure.restore(last)
    made.train(resume_from_checkpoint=None if last is None else str(last))
    # All have read the folder then, which the caller may remove.
    parallel.state().wait_for_everyone()
    return measure.found, cast("torch.optim.Optimizer", made.optimizer)


def trainer(
    model: adapters.Tuned,
    tokenizer: PreTrainedTokenizerBase,
    plan: Plan,
    folder: Path,
    callback: TrainerCallback,
) -> "_Trainer":
    """Return what takes the steps of a plan, with one callback beside its own; none is taken."""
    made = _Trainer(
        model=model,
        args=_arguments(plan, folder),
        train_dataset=_dataset(plan),
        data_collator=_collate,
        processing_class=tokenizer,
        callbacks=[callback],
    )
    made.plan, made.rows = plan, []
    # It prints the numbers of every step.
    made.remove_callback(PrinterCallback)
    return made


def checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint of a folder, to each process, and remove the others."""
    # Another machine may see the folder as it was.
    return parallel.from_main(lambda: _newest(folder))


def _newest(folder: Path) -> Path | None:
    found = sorted(folder.glob("checkpoint-*"), key=lambda one: int(one.name.split("-")[1]))
    whole = [one for one in found if (one / MEASURED).is_file()]
    last = whole[-1] if whole else None
    # An older one may be cut short too, in its removal, which makes it the newest by its date.
    for one in set(found) - {last}:
        shutil.rmtree(one)
    return last


def _arguments(plan: Plan, folder: Path) -> SFTConfig:
    settings = plan.settings
    for kind in ("fsdp", "deepspeed"):
        if os.environ.get(f"ACCELERATE_USE_{kind.upper()}") == "true":
            raise ValueError(
                f"the processes share the weights by {kind}, which is not supported: each needs"
                " a whole model; launch them with --config_file launch/ddp.yaml"
            )
    count = parallel.state().num_processes
    if settings.batch % count:
        raise ValueError(
            f"{count} processes cannot share a batch of {settings.batch} samples alike;"
            " choose a number of processes that divides finetune.batch"
        )
    found = SFTConfig(
        output_dir=str(folder),
        use_cpu=not torch.cuda.is_available(),
        max_steps=plan.steps,
        per_device_train_batch_size=settings.batch // count,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim=OPTIMIZERS[settings.optimizer],
        seed=plan.seed,
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        # The weights have their dtype already: autocast would convert them at every use,
        # which is 14 times slower on a CPU.
        bf16=False,
        fp16=False,
        gradient_checkpointing=settings.gradient_checkpointing,
        max_length=None,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=settings.eval_every,
        # The one before the last stays until the last is whole.
        save_total_limit=2,
        report_to=plan.report_to,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
    )
    # A process has one GPU: of two, the Trainer would take both, and a batch for each.
    found._n_gpu = min(found.n_gpu, 1)  # noqa: SLF001 - there is no argument for it
    return found


def _dataset(plan: Plan) -> Dataset:
    # By way of Arrow: as lists of Python's numbers, ids would take ten times the memory.
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
    # Not "input_ids", which the Trainer takes for a tensor.
    names = {"number": "number", "ids": "input_ids", "trained": "trained"}
    return {short: [row[name] for row in rows] for short, name in names.items()}


class _Trainer(SFTTrainer):
    """TRL's trainer with steps that waste nothing on padding.

    Its own fused head gives the same loss, in float32 tiles that take a CPU longer.
    """

    plan: Plan
    rows: list[tuple[list[int], torch.Tensor]]
    """The samples and the loss of each row of the last step."""

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Return the schedule of the plan."""
        made = optimizer or cast("torch.optim.Optimizer", self.optimizer)
        self.lr_scheduler = schedule.scheduler(made, self.plan.settings, num_training_steps)
        return self.lr_scheduler

    def training_step(  # pyright: ignore[reportIncompatibleMethodOverride] - not typed there
        self,
        model: torch.nn.Module,
        inputs: dict[str, list[np.ndarray]],
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Add the gradient of this process's samples and return its share of the mean loss."""
        del num_items_in_batch  # counts labels, which are not there
        model.train()
        samples = [
            Example(ids, trained)
            for ids, trained in zip(inputs["ids"], inputs["trained"], strict=True)
        ]
        # Processes average their gradients, and the loss is a mean over the tokens of all.
        share = self.accelerator.num_processes / self._tokens(samples)
        rows = packs([len(one.input_ids) for one in samples], self.plan.settings.micro_tokens)
        self.rows.clear()
        for row in rows:
            last = row is rows[-1]
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                found = token_losses(model, [samples[number] for number in row]).sum() * share
                self.accelerator.backward(found)
            numbers = [int(inputs["number"][number]) for number in row]
            self.rows.append((numbers, found.detach()))
        return torch.stack([loss for _, loss in self.rows]).sum()

    def _save(self, output_dir: str | None = None, state_dict: object = None) -> None:
        # The Trainer's own would write all embeddings too. All ranks come here.
        del state_dict
        if parallel.is_main():
            unwrapped = self.accelerator.unwrap_model(self.model)
            adapters.save(cast("adapters.Tuned", unwrapped), Path(str(output_dir)))

    def _tokens(self, samples: Sequence[Example]) -> int:
        counted = torch.tensor(sum(one.trained_tokens for one in samples))
        return int(parallel.all_reduce_sum(counted).item())
