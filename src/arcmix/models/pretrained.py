"""Load base models and tokenizers, and extend their vocabulary."""

import contextlib
import functools
import importlib.util
import json
import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import huggingface_hub
import safetensors
import torch
import tqdm
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers import modeling_gguf_pytorch_utils as gguf

NEED_GPU = {
    "qlora": ("method", "lora, full"),
    "paged_adamw_8bit": ("optimizer", "adamw"),
}
"""Values that need bitsandbytes -> their parameter, and its values that run on any machine."""

NAMED = 3
"""Number of weights or tokens that an error names."""


def quiet() -> None:
    """Silence the messages of the libraries, except errors."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    huggingface_hub.utils.disable_progress_bars()
    logging.getLogger("torchao").setLevel(logging.ERROR)
    # The progress bar of the conversion cannot be disabled; show it only in a terminal.
    bar = functools.partial(tqdm.tqdm, disable=None, leave=False)
    gguf.tqdm = bar  # pyright: ignore[reportPrivateImportUsage]
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*pin_memory.*")


def load_tokenizer(folder: Path, **options: Any) -> PreTrainedTokenizerBase:  # noqa: ANN401
    """Load the tokenizer of a folder in Hugging Face format.

    Args:
        folder: The folder.
        options: Further arguments of `from_pretrained`.

    Raises:
        ValueError: If the folder has no tokenizer that transformers can read.
    """
    return _read(transformers.AutoTokenizer, folder, options)


def token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    """Return the id of a token."""
    return tokenizer.get_vocab()[token]


def load(folder: Path, dtype: str) -> PreTrainedModel:
    """Load the model of a folder in Hugging Face format, onto the GPU if there is one.

    Args:
        folder: The folder.
        dtype: Type of the weights: `bfloat16`, `float32` or `float16`.

    Raises:
        ValueError: As in `load_model`.
    """
    return load_model(folder, dtype=getattr(torch, dtype), device_map=_device())


def load_base(folder: Path, dtype: str, method: str) -> PreTrainedModel:
    """Load a model to fine-tune; the method `qlora` quantizes its weights to 4 bits.

    Args:
        folder: The folder in Hugging Face format.
        dtype: Type of the weights; with `qlora`, type of the computation.
        method: The method of the fine-tune.

    Raises:
        ValueError: If this machine cannot run the method, and as in `load_model`.
    """
    require_gpu(method)
    if method != "qlora":
        return load(folder, dtype)
    # NF4 with double quantization, as in the paper (Dettmers et al. 2023).
    quantization = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )
    return load_model(
        folder,
        dtype=getattr(torch, dtype),
        device_map=_device(),
        quantization_config=quantization,
    )


def _device() -> str:
    """Return the device of a model.

    On a card, torch prefers the attention of cuDNN, which builds a plan for each new length of a
    text or of a cache. So it is turned off; the other kernels take any length.
    """
    if not torch.cuda.is_available():
        return "cpu"
    torch.backends.cuda.enable_cudnn_sdp(enabled=False)
    return "cuda"


def load_model(folder: Path, **options: Any) -> PreTrainedModel:  # noqa: ANN401
    """Load a causal language model whose weights are exactly those that its config describes.

    transformers fills missing and misshaped weights with random numbers, and ignores unexpected
    ones. The last kind is harmless for some models, which transformers knows and does not report.

    Args:
        folder: The folder with the model.
        options: Further arguments of `from_pretrained`.

    Raises:
        ValueError: If transformers does not know such a model or would need code of the folder,
            or if weights are missing, unexpected, of another shape, damaged, or in pickles.
    """
    if (folder / "adapter_config.json").exists():
        raise ValueError(
            f"{folder} contains an adapter (adapter_config.json), which would change the base"
            " model; merge the adapter into the model, or choose a model without one"
        )
    if "gguf_file" not in options and not any(folder.glob("*.safetensors")):
        raise ValueError(
            f"no weights in {folder}: it has no *.safetensors; pickles such as *.bin are not"
            " loaded, because they can run code: save the model as safetensors, or choose another"
        )
    _refuse_kernels(folder / "config.json")
    options |= {
        "use_safetensors": True,
        "output_loading_info": True,
        # An error of ours names all weights, an error of transformers none.
        "ignore_mismatched_sizes": True,
    }
    model, report = _read(transformers.AutoModelForCausalLM, folder, options)
    wrong = {
        "missing": sorted(report["missing_keys"]),
        "unexpected": sorted(report["unexpected_keys"]),
        "of another shape": [
            f"{name} {tuple(found)} instead of {tuple(expected)}"
            for name, found, expected in sorted(report["mismatched_keys"])
        ],
    }
    refuse_weights(
        f"the model in {folder}",
        wrong,
        "its config.json describes other weights, and the missing ones would be random: get the"
        " complete files, or choose another model",
    )
    return model


def _refuse_kernels(path: Path) -> None:
    """Refuse a config that makes transformers download and run an attention from the hub."""
    named: list[object] = []

    def collect(pairs: Sequence[tuple[str, object]]) -> None:
        named.extend(value for key, value in pairs if "attn" in key and "/" in str(value))

    if path.exists():
        # transformers reports invalid JSON.
        with contextlib.suppress(ValueError):
            json.loads(path.read_bytes(), object_pairs_hook=collect)
    if named:
        raise ValueError(
            f"{path} names code of the hub for the attention, {named}; arcmix runs no code of a"
            " model: remove the entry, or choose another model"
        )


def refuse_weights(what: str, wrong: Mapping[str, Sequence[str]], advice: str) -> None:
    """Raise an error that names weights if there are any.

    Args:
        what: What has the weights.
        wrong: What is wrong with weights -> their names.
        advice: What to do next.

    Raises:
        ValueError: If there is a name.
    """
    found = [f"{len(names)} {kind} ({listed(names)})" for kind, names in wrong.items() if names]
    if found:
        raise ValueError(f"weights of {what} are wrong: {', '.join(found)}; {advice}")


def listed(names: Sequence[str]) -> str:
    """Return the first names for an error."""
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def _read(kind: Any, folder: Path, options: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Call `from_pretrained` of a class; no other function may, so that no model runs its code."""
    if not folder.is_dir():
        # transformers would take the path for the name of a repository of the hub.
        raise ValueError(f"{folder} is no folder, so it contains no model; run: dvc repro")
    try:
        return kind.from_pretrained(folder, trust_remote_code=False, **options)
    except (OSError, ValueError, ImportError, safetensors.SafetensorError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(
            f"transformers cannot load {folder} with {kind.__name__}: {reason}; arcmix runs no code"
            " of a model, so transformers has to know it as a causal language model, and its files"
            " have to be complete: get them again, or choose another model"
        ) from error


def extend(tokenizer: PreTrainedTokenizerBase, tokens: Iterable[str]) -> None:
    """Add the tokens that a tokenizer lacks."""
    tokenizer.add_tokens([transformers.AddedToken(token, normalized=False) for token in tokens])


def require_gpu(*values: str) -> None:
    """Refuse methods and optimizers that this machine cannot run.

    Args:
        values: Names of methods and optimizers.

    Raises:
        ValueError: If one of them needs a CUDA GPU and bitsandbytes, and either is missing.
    """
    missing = []
    if not torch.cuda.is_available():
        missing.append("no CUDA GPU")
    if importlib.util.find_spec("bitsandbytes") is None:
        missing.append("no bitsandbytes (pip install 'arcmix[qlora]')")
    for value in values:
        if missing and value in NEED_GPU:
            name, allowed = NEED_GPU[value]
            raise ValueError(
                f"{name} {value} needs a CUDA GPU and bitsandbytes, but this machine has"
                f" {' and '.join(missing)}; use another machine or another {name}: {allowed}"
            )


def add_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: Mapping[str, str]
) -> list[int]:
    """Add tokens to a tokenizer and a model, and return their ids.

    Args:
        model: The model; its input and output embeddings must be tied.
        tokenizer: Its tokenizer; it is modified in place.
        tokens: New token -> the existing token whose embedding initializes it.

    Raises:
        ValueError: If the model's embeddings are not tied: its new output embeddings would not
            be trained.
    """
    if not tokens:
        return []
    if not model.config.tie_word_embeddings:
        raise ValueError(
            "the encoder 'tokens' needs a model whose input and output embeddings are tied, got"
            " a model whose embeddings are separate; choose another model or the encoder 'minimal'"
        )
    extend(tokenizer, tokens)
    # A model may have more embedding rows than its tokenizer has tokens.
    rows = max(len(tokenizer), model.config.get_text_config().vocab_size)
    weights = model.resize_token_embeddings(rows, mean_resizing=False).weight
    ids = [token_id(tokenizer, token) for token in tokens]
    with torch.no_grad():
        weights[ids] = weights[[token_id(tokenizer, like) for like in tokens.values()]]
    return ids
