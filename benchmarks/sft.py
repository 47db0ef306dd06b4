"""The unmodified `SFTTrainer` of TRL with the settings of an arcmix fine-tune."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import peft
import transformers
from transformers import PreTrainedTokenizerBase, PrinterCallback
from transformers.utils.import_utils import is_flash_attn_2_available
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from arcmix.config import scales
from arcmix.models import adapters, pretrained
from arcmix.text.prompt import Text
from arcmix.text.tokenization import Example
from benchmarks import harness


def attention(*, packed: bool) -> str:
    """Return transformers' name of the attention that suits TRL best on this machine."""
    return "flash_attention_2" if packed and is_flash_attn_2_available() else "sdpa"


def tuned(base_model: Path, settings: scales.Finetune, *, packed: bool) -> peft.PeftModel:
    """Return a model with an adapter of peft, with the initial weights of arcmix's adapter."""
    base = pretrained.load(base_model, settings.dtype)
    base.set_attn_implementation(attention(packed=packed))
    lora = settings.lora
    transformers.set_seed(harness.SEED)
    return peft.PeftModelForCausalLM(
        base,
        peft.LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules="all-linear" if "all-linear" in lora.targets else [*lora.targets],
            use_rslora=lora.rslora,
            use_dora=lora.dora,
            bias="none",
            task_type="CAUSAL_LM",
        ),
    )


def trainer(
    model: adapters.Tuned,
    tokenizer: PreTrainedTokenizerBase,
    samples: tuple[Sequence[Text], Sequence[Example]],
    settings: scales.Finetune,
    steps: int,
    *,
    parts: int,
    packed: bool,
    folder: Path,
) -> SFTTrainer:
    """Return a trainer of TRL that takes all samples twice.

    Args:
        model: The model with its adapter.
        tokenizer: The model's tokenizer.
        samples: Texts and tokens of the samples. TRL gets the texts if only answers have loss,
            otherwise the tokens with their labels.
        settings: The settings of the fine-tune.
        steps: Number of optimizer steps for all samples once.
        parts: Number of passes of a step with padding.
        packed: Whether a pass is a row of `micro_tokens` tokens without padding.
        folder: Output folder of TRL.
    """
    # A row holds the tokens of some samples, so a step of several rows is about as long.
    whole = sum(len(example.input_ids) for example in samples[1])
    rows = max(1, math.ceil(whole / steps / settings.micro_tokens))
    longest = max(len(example.input_ids) for example in samples[1])
    sft = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(folder),
            num_train_epochs=2,
            per_device_train_batch_size=1 if packed else max(1, settings.batch // parts),
            gradient_accumulation_steps=rows if packed else parts,
            packing=packed,
            max_length=max(settings.micro_tokens // parts, longest) if packed else None,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="constant",
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.max_grad_norm,
            train_sampling_strategy="sequential",
            bf16=False,
            gradient_checkpointing=False,
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


def passes(sft: SFTTrainer) -> list[list[int]]:
    """Return the lengths of the sequences of each pass over a part of a batch."""
    dataset: Any = sft.train_dataset
    lengths = [len(ids) for ids in dataset["input_ids"]]
    size = sft.args.per_device_train_batch_size
    return [lengths[start : start + size] for start in range(0, len(lengths), size)]


def _dataset(
    texts: Sequence[Text], examples: Sequence[Example], settings: scales.Finetune
) -> datasets.Dataset:
    rows: list[dict[str, Any]] = [
        {"prompt": text.prompt, "completion": text.answer} for text in texts
    ]
    if settings.loss != "answer":
        rows = [{"input_ids": example.input_ids, "labels": example.labels} for example in examples]
    return datasets.Dataset.from_list(rows)
