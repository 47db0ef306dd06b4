"""The unmodified `SFTTrainer` of TRL with the settings of an arcmix fine-tune."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
from transformers import PreTrainedTokenizerBase, PrinterCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from arcmix.config import scales
from arcmix.models import adapters
from arcmix.text.prompt import Text
from arcmix.text.tokenization import Example


def trainer(
    model: adapters.Tuned,
    tokenizer: PreTrainedTokenizerBase,
    samples: tuple[Sequence[Text], Sequence[Example]],
    settings: scales.Finetune,
    steps: int,
    folder: Path,
) -> SFTTrainer:
    """Return a trainer of TRL.

    Args:
        model: The model with its adapter.
        tokenizer: The model's tokenizer.
        samples: Texts and tokens of the samples. TRL gets the texts if only answers have loss,
            otherwise the tokens with their labels.
        settings: The settings of the fine-tune.
        steps: Number of optimizer steps.
        folder: Output folder of TRL.
    """
    sft = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(folder),
            max_steps=steps,
            per_device_train_batch_size=settings.batch,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="constant",
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.max_grad_norm,
            train_sampling_strategy="sequential",
            bf16=False,
            gradient_checkpointing=False,
            max_length=None,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=_dataset(*samples, settings),
        processing_class=tokenizer,
    )
    sft.remove_callback(PrinterCallback)
    return sft


def _dataset(
    texts: Sequence[Text], examples: Sequence[Example], settings: scales.Finetune
) -> datasets.Dataset:
    rows: list[dict[str, Any]] = [
        {"prompt": text.prompt, "completion": text.answer} for text in texts
    ]
    if settings.loss != "answer":
        rows = [{"input_ids": example.input_ids, "labels": example.labels} for example in examples]
    return datasets.Dataset.from_list(rows)
