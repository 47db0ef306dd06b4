"""Base models: fetch, convert, build, load, change their vocabulary; the first with torch."""

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
"""Values that bitsandbytes implements -> the parameter, and its values that run anywhere."""


def quiet() -> None:
    """Keep the libraries' remarks out of the log; errors still come through."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    huggingface_hub.utils.disable_progress_bars()
    logging.getLogger("torchao").setLevel(logging.ERROR)
    # Its bar for the conversion knows no switch; like ours, it is for a terminal only.
    bar = functools.partial(tqdm.tqdm, disable=None, leave=False)
    gguf.tqdm = bar  # pyright: ignore[reportPrivateImportUsage]
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*pin_memory.*")


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a folder in Hugging Face format."""
    return transformers.AutoTokenizer.from_pretrained(folder)


def token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    """Return the number of a token."""
    return tokenizer.get_vocab()[token]


def load(folder: Path, dtype: str) -> PreTrainedModel:
    """Load the model of a folder in Hugging Face format, onto the GPU if there is one.

    Args:
        folder: The folder.
        dtype: `bfloat16`, `float32` or `float16`.
    """
    return _load(folder, dtype, None)


def load_base(folder: Path, dtype: str, method: str) -> PreTrainedModel:
    """Load a model to fine-tune, its weights in 4 bits for the method `qlora`.

    Args:
        folder: The folder in Hugging Face format.
        dtype: Type of the weights, or of what is computed with those of 4 bits.
        method: How it is fine-tuned.

    Raises:
        ValueError: If this machine cannot run the method.
    """
    require_gpu(method)
    if method != "qlora":
        return load(folder, dtype)
    # NF4 with doubly quantized constants, as in the paper (Dettmers et al. 2023).
    weights = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )
    return _load(folder, dtype, weights)


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
    """Add tokens to a tokenizer that lacks them."""
    tokenizer.add_tokens([transformers.AddedToken(token, normalized=False) for token in tokens])


def require_gpu(*values: str) -> None:
    """Refuse what this machine cannot run.

    Args:
        values: A method, an optimizer.

    Raises:
        ValueError: If one of them needs a CUDA GPU and bitsandbytes and either is missing.
    """
    lacks = []
    if not torch.cuda.is_available():
        lacks.append("no CUDA GPU")
    if importlib.util.find_spec("bitsandbytes") is None:
        lacks.append("no bitsandbytes (pip install 'arcmix[qlora]')")
    for value in values:
        if lacks and value in NEED_GPU:
            name, allowed = NEED_GPU[value]
            raise ValueError(
                f"{name} {value} needs a CUDA GPU and bitsandbytes, and here is"
                f" {' and '.join(lacks)}; run it elsewhere or choose another {name}: {allowed}"
            )


def add_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: Mapping[str, str]
) -> list[int]:
    """Add tokens to a tokenizer that lacks them, and to a model, and return their numbers.

    Args:
        model: The model, whose input and output embeddings are one.
        tokenizer: Its tokenizer.
        tokens: The new tokens -> the tokens whose embeddings they begin with.

    Raises:
        ValueError: If the model's output embeddings are its own: new ones would not train.
    """
    if not tokens:
        return []
    if not model.config.tie_word_embeddings:
        raise ValueError(
            "the encoder 'tokens' needs a model whose input and output embeddings are tied;"
            " choose another model or the encoder 'minimal'"
        )
    extend(tokenizer, tokens)
    # A model may have more rows than its tokenizer has tokens.
    rows = max(len(tokenizer), model.config.vocab_size)
    weights = model.resize_token_embeddings(rows, mean_resizing=False).weight
    numbers = [token_id(tokenizer, token) for token in tokens]
    with torch.no_grad():
        weights[numbers] = weights[[token_id(tokenizer, like) for like in tokens.values()]]
    return numbers
