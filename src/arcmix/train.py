"""The fine-tune: TRL's trainer over token ids of our own, and a validation loss of our own."""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from peft import PeftModel
from transformers import (
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
)
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from arcmix import params
from arcmix.examples import IGNORED, Example
from arcmix.loss import left_padded, prompt_losses


@dataclass(frozen=True)
class Measurement:
    """The state of a fine-tune after a step."""

    step: int
    """Optimizer steps done."""
    samples: int
    """Training samples seen."""
    answer_tokens: int
    """Answer tokens trained on."""
    learning_rate: float
    """Learning rate of the last step; 0 before the first."""
    train_loss: float
    """Mean loss of an answer token since the previous measurement; nan before step 1."""
    val_loss: float
    """Mean loss of an answer token over all validation prompts."""
    losses: np.ndarray
    """Summed loss of each validation prompt, float64 (prompts,)."""


def finetune(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    samples: Sequence[Example],
    validation: Sequence[Example],
    settings: params.Finetune,
    seed: int,
    report: Callable[[Measurement], None],
) -> None:
    """Train the adapter of a model; step k takes samples k * batch and on, in order.

    When the samples are used up, they come again from the first.

    Args:
        model: The model; only its adapter trains.
        tokenizer: Its tokenizer.
        samples: Training samples in tokens.
        validation: Validation prompts in tokens.
        settings: Budget and hyperparameters.
        seed: Seed of dropout.
        report: Called with the measurement at step 0, every `eval_every` steps and at the
            last step, while the model is as it was measured.

    Raises:
        ValueError: If there are no samples or no validation prompts, or if the loss is not
            finite; the message names the step and its samples.
    """
    for what, examples in (("training sample", samples), ("validation prompt", validation)):
        if not examples:
            raise ValueError(f"no {what} is short enough; raise the scale's max_tokens")
    order = np.arange(settings.steps * settings.batch) % len(samples)
    with tempfile.TemporaryDirectory() as folder:
        trainer = _Trainer(
            model=model,
            args=_arguments(settings, seed, folder),
            train_dataset=_dataset(samples, order),
            data_collator=_collate,
            processing_class=tokenizer,
            callbacks=[_Measure(model, samples, order, validation, settings, report)],
        )
        # It prints the numbers of every step.
        trainer.remove_callback(PrinterCallback)
        trainer.train()


def _arguments(settings: params.Finetune, seed: int, folder: str) -> SFTConfig:
    return SFTConfig(
        output_dir=folder,
        max_steps=settings.steps,
        per_device_train_batch_size=settings.micro_batch,
        gradient_accumulation_steps=settings.batch // settings.micro_batch,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=math.ceil(settings.warmup * settings.steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch",
        seed=seed,
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        # The weights have their dtype already: autocast would convert them at every use,
        # which is 14 times slower on a CPU.
        bf16=False,
        fp16=False,
        gradient_checkpointing=False,
        max_length=None,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def _dataset(samples: Sequence[Example], order: np.ndarray) -> Dataset:
    # By way of Arrow: as lists of Python's numbers, ids would take ten times the memory.
    ends = np.cumsum([0, *(len(one.input_ids) for one in samples)])
    ids = np.concatenate([one.input_ids for one in samples])
    columns = {
        "input_ids": pa.LargeListArray.from_arrays(ends, ids),
        "answer_tokens": [one.trained_tokens for one in samples],
    }
    return Dataset(pa.table(columns)).with_format("numpy").select(order)


class _Trainer(SFTTrainer):
    """TRL's trainer with logits for answer tokens only.

    Its own fused head gives the same loss, in float32 tiles that take a CPU longer.
    """

    def compute_loss(  # pyright: ignore[reportIncompatibleMethodOverride] - not typed there
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        *,
        num_items_in_batch: torch.Tensor,
    ) -> torch.Tensor:
        """Return the batch's share of the mean loss of an answer token of the step."""
        labels = inputs["labels"]
        longest = int((labels != IGNORED).sum(dim=1).max())
        # The collator pads on the left, so that all answers are at the end.
        logits = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            position_ids=inputs["position_ids"],
            logits_to_keep=longest + 1,
            use_cache=False,
        ).logits[:, :-1]
        total = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(),
            labels[:, -longest:].flatten(),
            ignore_index=IGNORED,
            reduction="sum",
        )
        return total / num_items_in_batch


def _collate(rows: Sequence[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    ids, mask, positions = left_padded([row["input_ids"] for row in rows], torch.device("cpu"))
    labels = torch.full_like(ids, IGNORED)
    for number, row in enumerate(rows):
        answer = int(row["answer_tokens"])
        labels[number, -answer:] = ids[number, -answer:]
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "position_ids": positions,
        "labels": labels,
    }


class _Measure(TrainerCallback):
    """Keeps account of the steps and measures the validation loss between them."""

    def __init__(
        self,
        model: PeftModel,
        samples: Sequence[Example],
        order: np.ndarray,
        validation: Sequence[Example],
        settings: params.Finetune,
        report: Callable[[Measurement], None],
    ) -> None:
        self.model = model
        answers = np.array([example.trained_tokens for example in samples])[order]
        self.tokens = answers.reshape(settings.steps, settings.batch).sum(axis=1)
        self.validation = validation
        self.settings = settings
        self.report = report
        self.rates = [0.0]
        self.losses: list[float] = []
        self.measured = 0

    def on_train_begin(self, *_: object, **__: object) -> None:
        self._measure(0)

    def on_log(self, *_: object, logs: dict[str, float] | None = None, **__: object) -> None:
        # One entry a step, and one without a loss when the training is over.
        if logs is None or "loss" not in logs:
            return
        step, batch = len(self.losses) + 1, self.settings.batch
        if not math.isfinite(logs["loss"]) or not math.isfinite(logs["grad_norm"]):
            raise ValueError(
                f"the loss is {logs['loss']} and the gradient's norm {logs['grad_norm']} at step"
                f" {step}, samples {(step - 1) * batch}-{step * batch - 1};"
                " lower the learning rate or train in float32"
            )
        self.losses.append(logs["loss"])
        self.rates.append(logs["learning_rate"])
        if step % self.settings.eval_every == 0 or step == self.settings.steps:
            self._measure(step)

    def _measure(self, step: int) -> None:
        since = slice(self.measured, step)
        weights = self.tokens[since]
        losses = prompt_losses(
            self.model, self.validation, self.settings.eval_batch, done=lambda _: None
        )
        self.measured = step
        self.report(
            Measurement(
                step=step,
                samples=step * self.settings.batch,
                answer_tokens=int(self.tokens[:step].sum()),
                learning_rate=self.rates[-1],
                train_loss=float(np.average(self.losses[since], weights=weights))
                if step
                else math.nan,
                val_loss=losses.sum() / sum(one.trained_tokens for one in self.validation),
                losses=losses,
            )
        )
