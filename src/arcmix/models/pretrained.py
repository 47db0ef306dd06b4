"""Load base models and tokenizers, and extend their vocabulary."""

import functools
import importlib.util
import logging
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import huggingface_hub
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


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a folder in Hugging Face format."""
    return transformers.AutoTokenizer.from_pretrained(folder)


def token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    """Return the id of a token."""
    return tokenizer.get_vocab()[token]


def load(folder: Path, dtype: str) -> PreTrainedModel:
    """Load the model of a folder in Hugging Face format, onto the GPU if there is one.

    Args:
        folder: The folder.
        dtype: Type of the weights: `bfloat16`, `float32` or `float16`.
    """
    return _load(folder, dtype, None)


def load_base(folder: Path, dtype: str, method: str) -> PreTrainedModel:
    """Load a model to fine-tune; the method `qlora` quantizes its weights to 4 bits.

    Args:
        folder: The folder in Hugging Face format.
        dtype: Type of the weights; with `qlora`, type of the computation.
        method: The method of the fine-tune.

    Raises:
        ValueError: If this machine cannot run the method.
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
    return _load(folder, dtype, quantization)


def _load(
    folder: Path, dtype: str, quantization: transformers.BitsAndBytesConfig | None
) -> PreTrainedModel:
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=getattr(torch, dtype),
        device_map="cuda" if torch.cuda.is_available() else "cpu",
        quantization_config=quantization,
    )


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
    rows = max(len(tokenizer), model.config.vocab_size)
    weights = model.resize_token_embeddings(rows, mean_resizing=False).weight
    ids = [token_id(tokenizer, token) for token in tokens]
    with torch.no_grad():
        weights[ids] = weights[[token_id(tokenizer, like) for like in tokens.values()]]
    return ids
