"""The weights that a fine-tune trains, an adapter or the whole model: create, save and load.

The initializations pissa and olora subtract the initial adapter from the base weights, so the
model's output does not change at first. peft reads the initialization from the adapter's config
and repeats the subtraction on loading. So callers always pass the original base model.
"""

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
from arcmix.models import pretrained, products, saved
from arcmix.text import tokenization
from arcmix.text.encode import Encoder
from arcmix.text.prompt import Style

Tuned = PreTrainedModel | PeftModel
"""A model with trainable weights: an adapter, or all of its own."""

INITS = {"default": True, "gaussian": "gaussian", "pissa": "pissa", "olora": "olora"}
"""Initialization of an adapter -> peft's `init_lora_weights`."""


def attach(
    base: PreTrainedModel, settings: scales.Finetune, seed: int, tokens: Sequence[int]
) -> Tuned:
    """Return the model ready to train: with a new adapter, or with all weights for `full`.

    Args:
        base: The base model; it is modified in place.
        settings: The method and the settings of the adapter.
        seed: Seed of the adapter's initial weights.
        tokens: Ids of the added tokens, whose embeddings are trained as well.

    Raises:
        ValueError: If no layer of the model has a target's name, if a layer is too small for the
            rank, or if a target is an embedding that is tied to another.
    """
    if settings.method == "full":
        return base.requires_grad_(requires_grad=True)
    return _add_adapter(base, settings, seed, tokens)


def _add_adapter(
    base: PreTrainedModel, settings: scales.Finetune, seed: int, tokens: Sequence[int]
) -> PeftModel:
    lora = settings.lora
    _check_tied(base, settings)
    if settings.method == "qlora":
        # The trainer enables gradient checkpointing for all methods.
        base = peft.prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)
    transformers.set_seed(seed)
    tuned = peft.PeftModelForCausalLM(base, _lora_config(lora, tokens, _no_part_of_text(base)))
    ranks = {
        cast("Any", layer.lora_A["default"]).weight.shape[0]
        for layer in _lora_layers(tuned)
        if "default" in layer.lora_A
    }
    if ranks - {lora.rank}:
        raise ValueError(
            f"rank {lora.rank} is too high for init {lora.init}: the smallest target layer allows"
            f" at most {min(ranks)}; lower the rank or choose init default"
        )
    if products.in_dtype_of_model(base.device, base.dtype):
        products.follow_inputs(tuned)
    return tuned


def _check_tied(base: PreTrainedModel, settings: scales.Finetune) -> None:
    """Refuse an adapter on embeddings that are tied to the output layer."""
    embeddings = base.get_input_embeddings(), base.get_output_embeddings()
    found = sorted(
        target
        for target in settings.lora.targets
        for name, layer in base.named_modules()
        if layer in embeddings and f".{name}".endswith(f".{target}")
    )
    if found and base.config.tie_word_embeddings:
        raise ValueError(
            f"the model's input and output embeddings are tied, so neither can have an adapter,"
            f" got targets {found}; choose other targets or method full"
        )


def _no_part_of_text(base: PreTrainedModel) -> list[str]:
    """Return the names of the layers that read no text, such as those for images.

    An adapter there would have no gradient, on which several processes would wait in vain.
    """
    text = {*base.get_decoder().modules(), base.get_output_embeddings()}
    return [
        name
        for name, layer in base.named_modules()
        if isinstance(layer, torch.nn.Linear) and layer not in text
    ]


def _lora_config(
    lora: scales.Lora, tokens: Sequence[int], excluded: Sequence[str]
) -> peft.LoraConfig:
    # peft divides alpha by this number.
    divisor = math.sqrt(lora.rank) if lora.rslora else lora.rank
    alpha = lora.alpha if lora.scale == "alpha" else lora.scale * divisor
    return peft.LoraConfig(
        r=lora.rank,
        lora_alpha=cast("int", alpha),
        lora_dropout=lora.dropout,
        target_modules=_targets(lora.targets),
        exclude_modules=list(excluded) or None,
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        init_lora_weights=cast("Any", INITS[lora.init]),
        bias="none",
        task_type="CAUSAL_LM",
        trainable_token_indices=list(tokens) or None,
    )


def _targets(names: Sequence[str]) -> list[str] | str:
    return "all-linear" if list(names) == ["all-linear"] else list(names)


def _lora_layers(tuned: PeftModel) -> list[LoraLayer]:
    return [layer for layer in tuned.modules() if isinstance(layer, LoraLayer)]


def resume(
    base: PreTrainedModel,
    folder: Path,
    settings: scales.Finetune,
    seed: int,
    tokens: Sequence[int],
) -> Tuned:
    """Load what `save` wrote, and return the model ready to continue training.

    The settings must describe the saved adapter, except for its dropout. The arguments other than
    `folder` are the same as in `attach`.

    Raises:
        ValueError: As in `attach`, and if the folder holds no fine-tune, a damaged one, or one with
            another method, adapter, encoder or base model.
    """
    saved.require_method(folder, settings.method)
    if settings.method == "full":
        whole = pretrained.load(folder, settings.dtype)
        saved.require_shapes(folder, whole.state_dict(), base.state_dict())
        return attach(whole, settings, seed, tokens)
    tuned = _add_adapter(base, settings, seed, tokens)
    saved.require_settings(folder, tuned)
    saved.load_weights(folder, tuned)
    return tuned


def save(tuned: Tuned, folder: Path) -> None:
    """Write the adapter and the embeddings of added tokens, or the whole model."""
    if isinstance(tuned, PeftModel):
        # The adapter has the embeddings of added tokens; the other embeddings are unchanged.
        tuned.save_pretrained(str(folder), save_embedding_layers=False)
        _sort_sets(tuned.peft_config["default"].to_dict(), folder / "adapter_config.json")
    else:
        tuned.save_pretrained(folder)


def _sort_sets(config: Mapping[str, Any], path: Path) -> None:
    """Write the sets of a saved config in sorted order.

    peft writes them in an order that differs between processes. Equal runs would have adapters
    with different addresses.
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
    """Return a fine-tuned model for prediction; the arguments are the same as in `load_each`."""
    return next(load_each(base_model, [folder], dtype, method, tokenizer, tokens))


def load_each(
    base_model: Path,
    folders: Sequence[Path],
    dtype: str,
    method: str,
    tokenizer: PreTrainedTokenizerBase,
    tokens: Mapping[str, str],
) -> Iterator[PreTrainedModel]:
    """Yield the fine-tuned models that predict, one at a time.

    Each is the model whose validation loss the fine-tune measured, because the adapter stays apart
    from the base weights. Merging would round it to the precision of the base weights
    (docs/prediction.md has the differences).

    The base model is read once and takes one adapter after the other, so a yielded model changes
    when the next one is asked for.

    Args:
        base_model: Folder of the base model.
        folders: Folders that `save` wrote, all with adapters of the same settings.
        dtype: Type of the weights.
        method: The method of the fine-tunes.
        tokenizer: The tokenizer of all models.
        tokens: Added tokens, as in `pretrained.add_tokens`.

    Raises:
        ValueError: If the method needs a GPU and there is none, or as in `saved.load_weights`.
    """
    if method == "full":
        yield from (_aligned(pretrained.load(folder, dtype)) for folder in folders)
        return
    base = pretrained.load_base(base_model, dtype, method)
    pretrained.add_tokens(base, tokenizer, tokens)
    first, *others = folders
    tuned = _saved_adapter(base, first)
    model = _aligned(cast("PreTrainedModel", tuned.get_base_model()))
    yield model
    for folder in others:
        saved.require_settings(folder, tuned)
        saved.load_weights(folder, tuned)
        yield model


def _saved_adapter(base: PreTrainedModel, folder: Path) -> PeftModel:
    """Return a model with an adapter that `save` wrote, for prediction."""
    # Without its file, peft would look for the config on the hub.
    saved.require_method(folder, "lora")
    config = peft.LoraConfig.from_pretrained(str(folder))
    config = cast("peft.LoraConfig", config)
    config.inference_mode = True
    rounded = products.in_dtype_of_model(base.device, base.dtype) and not config.use_dora
    tuned = peft.PeftModelForCausalLM(base, config, autocast_adapter_dtype=not rounded)
    saved.load_weights(folder, tuned)
    return tuned.eval()


def save_text(folder: Path, tokenizer: PreTrainedTokenizerBase, settings: scales.Prompt) -> None:
    """Write the tokenizer and the prompt format of a model to its adapter folder."""
    tokenizer.save_pretrained(folder / "tokenizer")
    files.write_json(folder / "prompt.json", settings.model_dump())


def load_text(folder: Path, loss: str) -> tuple[PreTrainedTokenizerBase, Style]:
    """Return the tokenizer and the text style of a trained model.

    Args:
        folder: The adapter folder that `save_text` wrote.
        loss: The part of a text that carries loss (`prompt.LOSSES`).
    """
    settings = scales.Prompt.model_validate_json((folder / "prompt.json").read_text())
    tokenizer = pretrained.load_tokenizer(folder / "tokenizer")
    encoder = Encoder(settings.encoder)
    return tokenizer, tokenization.style(tokenizer, settings.format, encoder, loss)


def _aligned(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model with its CPU weights copied to memory that torch allocated.

    The last bits of a matrix product depend on memory alignment. The alignment of weights that
    are mapped from a file depends on the file.
    """
    for weight in model.parameters():
        if weight.device.type == "cpu":
            weight.data = weight.data.clone()
    return model


def effective(tuned: Tuned) -> dict[str, Any]:
    """Return the settings that are in effect, as JSON.

    They come from the model's layers, not from its configuration: in iteration 2 of arc24, DoRA
    was on although the configuration had it off. For an adapter, each setting is the list of its
    distinct values over all layers.
    """
    trainable = [weight for weight in tuned.parameters() if weight.requires_grad]
    found: dict[str, Any] = {
        "parameters": sum(weight.numel() for weight in tuned.parameters()),
        "trainable_parameters": sum(weight.numel() for weight in trainable),
        "dtypes": sorted({str(weight.dtype) for weight in tuned.parameters()}),
        "trainable_dtypes": sorted({str(weight.dtype) for weight in trainable}),
    }
    if not isinstance(tuned, PeftModel):
        return found
    config, layers = cast("peft.LoraConfig", tuned.peft_config["default"]), _lora_layers(tuned)
    return found | {
        # 4-bit weights are stored in pairs, so `numel` would count half of them.
        "parameters": tuned.get_nb_trainable_parameters()[1],
        "targets": saved.as_json(config.target_modules),
        "layers": len(layers),
        "rank": sorted({layer.r["default"] for layer in layers}),
        "scale": sorted({layer.scaling["default"] for layer in layers}),
        "dropout": sorted({getattr(layer.lora_dropout["default"], "p", 0.0) for layer in layers}),
        "rslora": sorted({layer.use_rslora["default"] for layer in layers}),
        "dora": sorted({"default" in layer.lora_magnitude_vector for layer in layers}),
        "init": config.init_lora_weights,
        "added_tokens": config.trainable_token_indices or [],
    }
