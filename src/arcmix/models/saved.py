"""The files of a fine-tune, held against the model that they are for."""

import json
from collections.abc import Mapping
from pathlib import Path

import peft
import safetensors.torch
import torch
from peft import PeftModel

from arcmix.models import pretrained

REPEAT = "repeat the fine-tune, or restore its files: dvc checkout"
"""What to do about a damaged fine-tune."""

SHAPE = {
    "r": "rank",
    "lora_alpha": "alpha",
    "use_rslora": "rslora",
    "use_dora": "dora",
    "target_modules": "targets",
    "init_lora_weights": "init",
    "trainable_token_indices": "added tokens",
}
"""Settings that the weights of an adapter depend on: peft's name -> our name."""

STATED = ("rank", "alpha", "rslora", "dora")
"""Settings of `SHAPE` whose values `params.yaml` states as peft does."""


def require_method(folder: Path, method: str) -> None:
    """Refuse a folder that does not hold what a method trains.

    Raises:
        ValueError: If the folder holds no fine-tune, or one of another method.
    """
    names = {"adapter_config.json": "an adapter", "config.json": "a whole model"}
    found = [kind for name, kind in names.items() if (folder / name).is_file()]
    if not found:
        raise ValueError(
            f"no fine-tune in {folder}: it has none of the files {list(names)};"
            " choose the folder of a finished fine-tune"
        )
    wanted = "a whole model" if method == "full" else "an adapter"
    if found != [wanted]:
        raise ValueError(
            f"{folder} holds {found[0]}, but method {method} continues {wanted};"
            " choose the method of the fine-tune that this run continues"
        )


def require_settings(folder: Path, tuned: PeftModel) -> None:
    """Refuse a saved adapter whose settings differ from those of a model's adapter.

    Raises:
        ValueError: If a setting of `SHAPE` differs.
    """
    saved = peft.LoraConfig.from_pretrained(str(folder))
    values = {
        ours: (
            as_json(getattr(saved, name)),
            as_json(getattr(tuned.peft_config["default"], name)),
        )
        for name, ours in SHAPE.items()
    }
    wrong = {name: pair for name, pair in values.items() if pair[0] != pair[1]}
    if wrong:
        differ = ", ".join(f"{name} {had} instead of {has}" for name, (had, has) in wrong.items())
        flags = " ".join(
            f"-S ++scales.SCALE.finetune.lora.{name}={json.dumps(had)}"
            for name, (had, _) in wrong.items()
            if name in STATED
        )
        add = f"for the values of the adapter, add {flags} with the name of the scale for SCALE, or"
        raise ValueError(
            f"the adapter in {folder} has other settings than this run: {differ};"
            f" {f'{add} ' if flags else ''}choose another init.adapter"
        )


def load_weights(folder: Path, tuned: PeftModel) -> None:
    """Load the weights of a saved adapter, which have to be exactly those of a model's adapter.

    peft itself would leave missing weights at their random start.

    Raises:
        ValueError: If the file is damaged, or if weights are missing, unexpected, of another shape
            or not finite.
        OSError: If there is no file of weights.
    """
    try:
        weights = safetensors.torch.load_file(folder / "adapter_model.safetensors")
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"the weights of the fine-tune in {folder} cannot be read: {error}; {REPEAT}"
        ) from error
    current = peft.get_peft_model_state_dict(tuned, save_embedding_layers=False)
    require_shapes(folder, weights, current)
    broken = [name for name, weight in weights.items() if not weight.isfinite().all()]
    pretrained.refuse_weights(f"the fine-tune in {folder}", {"not finite": broken}, REPEAT)
    peft.set_peft_model_state_dict(tuned, weights)


def require_shapes(
    folder: Path, saved: Mapping[str, torch.Tensor], current: Mapping[str, torch.Tensor]
) -> None:
    """Refuse saved weights whose names or shapes differ from those of a model.

    Args:
        folder: The folder of the saved weights, for the error.
        saved: The saved weights by name.
        current: The weights of the model by name.

    Raises:
        ValueError: If a name or a shape differs.
    """
    wrong = {
        "missing": sorted(current.keys() - saved.keys()),
        "unexpected": sorted(saved.keys() - current.keys()),
        "of another shape": [
            f"{name} {tuple(saved[name].shape)} instead of {tuple(current[name].shape)}"
            for name in sorted(saved.keys() & current.keys())
            if saved[name].shape != current[name].shape
        ],
    }
    pretrained.refuse_weights(
        f"the fine-tune in {folder}",
        wrong,
        f"if it has another model or encoder than this run, choose the same; otherwise, {REPEAT}",
    )


def as_json(value: object) -> object:
    """Return a value of peft's config as JSON, with layers by the last part of their name."""
    # peft replaces all-linear by the list of all layers.
    return sorted({name.rpartition(".")[2] for name in value}) if isinstance(value, set) else value
