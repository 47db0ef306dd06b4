"""What a fine-tune trains: an adapter or a whole model, fresh, from a file and to a file.

An adapter that starts as pissa or olora takes its start out of the base model's weights, so
that nothing changes at first. Its config says so, and peft takes the same part out again
when it loads the adapter: a base model is always given as it was fetched.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import peft
import torch
import transformers
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from arcmix import files
from arcmix.config import scales
from arcmix.models import pretrained
from arcmix.text import tokenization
from arcmix.text.encode import Encoder
from arcmix.text.prompt import Style

Tuned = PreTrainedModel | PeftModel
"""A model that trains: with an adapter, or as a whole."""

INITS = {"default": True, "gaussian": "gaussian", "pissa": "pissa", "olora": "olora"}
"""The start of an adapter -> peft's `init_lora_weights`."""

SHAPE = {
    "r": "rank",
    "lora_alpha": "alpha",
    "use_rslora": "rslora",
    "use_dora": "dora",
    "target_modules": "targets",
    "init_lora_weights": "init",
    "trainable_token_indices": "added tokens",
}
"""What decides how the weights of an adapter are read: peft's name -> ours."""


def attach(
    base: PreTrainedModel, settings: scales.Finetune, seed: int, tokens: Sequence[int]
) -> Tuned:
    """Return the model ready to train: with a fresh adapter, or all of it for `full`.

    Args:
        base: The base model; it is changed.
        settings: The method and the shape of the adapter.
        seed: Seed of the adapter's weights.
        tokens: Added tokens, whose embeddings train too.

    Raises:
        ValueError: If the model has no layer of a target's name or one too small for the
            rank, or if the adapter would have embeddings that are tied.
    """
    if settings.method == "full":
        return base.requires_grad_(requires_grad=True)
    return _adapted(base, settings, seed, tokens)


def _adapted(
    base: PreTrainedModel, settings: scales.Finetune, seed: int, tokens: Sequence[int]
) -> PeftModel:
    lora = settings.lora
    _check_ends(base, settings)
    if settings.method == "qlora":
        # The trainer sees to the checkpointing, whatever the method.
        base = peft.prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)
    transformers.set_seed(seed)
    tuned = peft.PeftModelForCausalLM(base, _config(lora, tokens))
    ranks = {
        cast("Any", layer.lora_A["default"]).weight.shape[0]
        for layer in _layers(tuned)
        if "default" in layer.lora_A
    }
    if ranks - {lora.rank}:
        raise ValueError(
            f"init {lora.init} takes the rank from the layers, the smallest of which has"
            f" {min(ranks)}, got rank {lora.rank}; lower the rank or choose init default"
        )
    return tuned


def _check_ends(base: PreTrainedModel, settings: scales.Finetune) -> None:
    """Refuse an adapter of embeddings that are tied to the head."""
    ends = base.get_input_embeddings(), base.get_output_embeddings()
    found = sorted(
        target
        for target in settings.lora.targets
        for name, layer in base.named_modules()
        if layer in ends and f".{name}".endswith(f".{target}")
    )
    if found and base.config.tie_word_embeddings:
        raise ValueError(
            f"the model's embeddings and its head are one, so that neither can have an adapter,"
            f" got targets {found}; choose other targets or method full"
        )


def _config(lora: scales.Lora, tokens: Sequence[int]) -> peft.LoraConfig:
    # peft divides alpha by this again.
    divisor = math.sqrt(lora.rank) if lora.rslora else lora.rank
    alpha = lora.alpha if lora.scale == "alpha" else lora.scale * divisor
    return peft.LoraConfig(
        r=lora.rank,
        lora_alpha=cast("int", alpha),
        lora_dropout=lora.dropout,
        target_modules=_targets(lora.targets),
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        init_lora_weights=cast("Any", INITS[lora.init]),
        bias="none",
        task_type="CAUSAL_LM",
        trainable_token_indices=list(tokens) or None,
    )


def _targets(names: Sequence[str]) -> list[str] | str:
    return "all-linear" if list(names) == ["all-linear"] else list(names)


def _layers(tuned: PeftModel) -> list[LoraLayer]:
    return [layer for layer in tuned.modules() if isinstance(layer, LoraLayer)]


def resume(
    base: PreTrainedModel,
    folder: Path,
    settings: scales.Finetune,
    seed: int,
    tokens: Sequence[int],
) -> Tuned:
    """Return what `save` wrote, ready to train on; the other arguments are those of `attach`.

    The adapter keeps the shape that it has; its dropout is that of the settings.

    Raises:
        ValueError: As `attach`, and if the folder holds no fine-tune, or one of another
            method, adapter, encoder or base model.
    """
    _check_method(folder, settings.method)
    if settings.method == "full":
        saved = pretrained.load(folder, settings.dtype)
        _check_sizes(folder, saved.state_dict(), base.state_dict())
        return attach(saved, settings, seed, tokens)
    tuned = _adapted(base, settings, seed, tokens)
    _check_shape(folder, tuned)
    weights = peft.load_peft_weights(str(folder), device="cpu")
    now = peft.get_peft_model_state_dict(tuned, save_embedding_layers=False)
    _check_sizes(folder, weights, now)
    peft.set_peft_model_state_dict(tuned, weights)
    return tuned


def _check_method(folder: Path, method: str) -> None:
    names = {"adapter_config.json": "an adapter", "config.json": "a whole model"}
    found = [what for name, what in names.items() if (folder / name).is_file()]
    if not found:
        raise ValueError(f"no fine-tune in {folder}: it has none of the files {list(names)}")
    wanted = "a whole model" if method == "full" else "an adapter"
    if found != [wanted]:
        raise ValueError(
            f"{folder} holds {found[0]}, and method {method} goes on from {wanted};"
            " choose the method of the fine-tune that it goes on from"
        )


def _check_shape(folder: Path, tuned: PeftModel) -> None:
    saved = peft.LoraConfig.from_pretrained(str(folder))
    pairs = {
        ours: (_plain(getattr(saved, name)), _plain(getattr(tuned.peft_config["default"], name)))
        for name, ours in SHAPE.items()
    }
    wrong = [f"{name} {had} and not {has}" for name, (had, has) in pairs.items() if had != has]
    if wrong:
        raise ValueError(
            f"the adapter in {folder} has {', '.join(wrong)};"
            " give the settings of the fine-tune that it goes on from"
        )


def _check_sizes(
    folder: Path, saved: Mapping[str, torch.Tensor], now: Mapping[str, torch.Tensor]
) -> None:
    sizes = [{name: tuple(one.shape) for name, one in weights.items()} for weights in (saved, now)]
    if wrong := sorted(name for name, _ in sizes[0].items() ^ sizes[1].items()):
        name = wrong[0]
        raise ValueError(
            f"the fine-tune in {folder} is of another model or encoder: {name} has"
            f" {sizes[0].get(name, 'no weights')} there and {sizes[1].get(name, 'none')} here;"
            " go on from one of the same model and encoder"
        )


def save(tuned: Tuned, folder: Path) -> None:
    """Write the adapter of a model with the embeddings of added tokens, or the whole model."""
    if isinstance(tuned, PeftModel):
        # Of the other embeddings none has changed.
        tuned.save_pretrained(str(folder), save_embedding_layers=False)
        _sort_sets(tuned.peft_config["default"].to_dict(), folder / "adapter_config.json")
    else:
        tuned.save_pretrained(folder)


def _sort_sets(config: Mapping[str, Any], path: Path) -> None:
    """Write the sets of a saved config in order: peft's order is another in each process.

    Equal runs would have adapters of unequal addresses else.
    """
    sets = {name: sorted(value) for name, value in config.items() if isinstance(value, set)}
    files.write_json(path, files.read_json(path) | sets)


def load(
    base_model: Path,
    folder: Path,
    dtype: str,
    method: str,
    tokenizer: PreTrainedTokenizerBase,
    tokens: Mapping[str, str],
) -> PreTrainedModel:
    """Return a fine-tuned model to predict with; the arguments are those of `load_each`."""
    return next(load_each(base_model, [folder], dtype, method, tokenizer, tokens))


def load_each(
    base_model: Path,
    folders: Sequence[Path],
    dtype: str,
    method: str,
    tokenizer: PreTrainedTokenizerBase,
    tokens: Mapping[str, str],
) -> Iterator[PreTrainedModel]:
    """Yield fine-tuned models to predict with, an adapter merged into its model's weights.

    The base model is read once. Each adapter but the last is merged into a copy of it, since to
    take an adapter out of rounded weights again would not give them back.

    Args:
        base_model: Folder of the base model.
        folders: Where `save` wrote.
        dtype: Type of the weights.
        method: How they were fine-tuned.
        tokenizer: Their tokenizer.
        tokens: Added tokens, as `model.add_tokens` takes them.

    Raises:
        ValueError: If the method needs a GPU and there is none.
    """
    if method == "full":
        yield from (_aligned(pretrained.load(folder, dtype)) for folder in folders)
        return
    base = pretrained.load_base(base_model, dtype, method)
    pretrained.add_tokens(base, tokenizer, tokens)
    for number, folder in enumerate(folders, start=1):
        own = base if number == len(folders) else copy.deepcopy(base)
        tuned = PeftModel.from_pretrained(own, str(folder))
        # An adapter merged into 4 bits would be rounded away.
        found = tuned.get_base_model() if method == "qlora" else tuned.merge_and_unload()
        yield _aligned(cast("PreTrainedModel", found))


def save_text(folder: Path, tokenizer: PreTrainedTokenizerBase, settings: scales.Prompt) -> None:
    """Write the tokenizer and the prompt format that a model was trained with."""
    tokenizer.save_pretrained(folder / "tokenizer")
    files.write_json(folder / "prompt.json", settings.model_dump())


def load_text(folder: Path, loss: str) -> tuple[PreTrainedTokenizerBase, Style]:
    """Return the tokenizer and the style that a model was trained with.

    Args:
        folder: The adapter folder, where `save_text` wrote.
        loss: The part of a text that carries loss (`prompt.LOSSES`).
    """
    settings = scales.Prompt.model_validate_json((folder / "prompt.json").read_text())
    tokenizer = pretrained.load_tokenizer(folder / "tokenizer")
    encoder = Encoder(settings.encoder)
    return tokenizer, tokenization.style(tokenizer, settings.format, encoder, loss)


def _aligned(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model with its CPU weights in memory that torch has allocated.

    Products of matrices depend on the alignment in their last bits, and weights read from a file
    lie where the file has them.
    """
    for weight in model.parameters():
        if weight.device.type == "cpu":
            weight.data = weight.data.clone()
    return model


def effective(tuned: Tuned) -> dict[str, Any]:
    """Return what trains, read off the model and not off its settings, as JSON.

    Of an adapter, each value that occurs in its layers. A run of arc24 had dora on where
    its configuration had it off (iteration 2).
    """
    trains = [one for one in tuned.parameters() if one.requires_grad]
    found: dict[str, Any] = {
        "parameters": sum(one.numel() for one in tuned.parameters()),
        "trainable_parameters": sum(one.numel() for one in trains),
        "dtypes": sorted({str(one.dtype) for one in tuned.parameters()}),
        "trainable_dtypes": sorted({str(one.dtype) for one in trains}),
    }
    if not isinstance(tuned, PeftModel):
        return found
    config, layers = cast("peft.LoraConfig", tuned.peft_config["default"]), _layers(tuned)
    return found | {
        # Weights of 4 bits are stored by twos.
        "parameters": tuned.get_nb_trainable_parameters()[1],
        "targets": _plain(config.target_modules),
        "layers": len(layers),
        "rank": sorted({layer.r["default"] for layer in layers}),
        "scale": sorted({layer.scaling["default"] for layer in layers}),
        "dropout": sorted({getattr(layer.lora_dropout["default"], "p", 0.0) for layer in layers}),
        "rslora": sorted({layer.use_rslora["default"] for layer in layers}),
        "dora": sorted({"default" in layer.lora_magnitude_vector for layer in layers}),
        "init": config.init_lora_weights,
        "added_tokens": config.trainable_token_indices or [],
    }


def _plain(value: object) -> object:
    """Return a value of a config of peft's as JSON has it, layers by their last name."""
    # peft writes all-linear out, layer by layer.
    return sorted({name.rpartition(".")[2] for name in value}) if isinstance(value, set) else value
