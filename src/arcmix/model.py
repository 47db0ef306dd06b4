"""Base models: fetch, convert, build, load, change their vocabulary; the first with torch."""

import functools
import importlib.util
import logging
import shutil
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import tokenizers
import torch
import tqdm
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers import modeling_gguf_pytorch_utils as gguf

from arcmix import params

HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.jinja", "*.txt")
"""Files of a hub repository that a model needs; no code, and no second copy of weights."""

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML, the format of the SmolLM2 and Qwen2 families."""

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


def from_gguf(file: Path, out: Path) -> None:
    """Convert a quantized GGUF model into a Hugging Face folder with bfloat16 weights."""
    names = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(**names)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        **names,
        dtype=torch.bfloat16,
        quantization_config=transformers.GgufConfig(dequantize=True),
    )
    _save(model, tokenizer, out)


def from_hub(repository: str, revision: str, out: Path) -> None:
    """Download a repository of the Hugging Face hub at one commit.

    Raises:
        OSError: If the hub cannot be reached or does not have the revision.
    """
    try:
        huggingface_hub.snapshot_download(
            repository, revision=revision, local_dir=out, allow_patterns=list(HUB_FILES)
        )
    except (OSError, huggingface_hub.errors.HfHubHTTPError) as error:
        raise OSError(
            f"cannot download model {repository} at {revision}: {str(error).splitlines()[0]};"
            " on a machine without the hub, set HF_ENDPOINT to a mirror,"
            " or download it elsewhere and choose a model of kind folder"
        ) from error
    shutil.rmtree(out / ".cache", ignore_errors=True)
    _separate_padding(out)


def from_folder(folder: Path, out: Path) -> None:
    """Copy a local folder in Hugging Face format.

    Raises:
        ValueError: If the folder holds no model.
    """
    folder = folder.expanduser()
    if not (folder / "config.json").is_file():
        raise ValueError(f"no config.json in {folder}: not a folder in Hugging Face format")
    shutil.copytree(folder, out, dirs_exist_ok=True)
    _separate_padding(out)


def random(settings: params.RandomModel, out: Path) -> None:
    """Write a Llama of random weights and a character tokenizer."""
    tokenizer = character_tokenizer()
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden,
        intermediate_size=2 * settings.hidden,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        max_position_embeddings=settings.positions,
        tie_word_embeddings=True,
        # Wide enough for a frozen head to be sure of a token: an adapter has to be able to learn.
        initializer_range=2 * settings.hidden**-0.5,
        bos_token_id=None,
        eos_token_id=token_id(tokenizer, str(tokenizer.eos_token)),
        pad_token_id=token_id(tokenizer, str(tokenizer.pad_token)),
    )
    transformers.set_seed(settings.seed)
    _save(transformers.LlamaForCausalLM(config), tokenizer, out)


def character_tokenizer() -> PreTrainedTokenizerBase:
    """Return a tokenizer with one token for each character of ASCII and of the encoders."""
    specials = ["<unk>", "<pad>", "<|im_start|>", "<|im_end|>"]
    characters = ["\n", *map(chr, range(32, 127)), *"ñò÷ûąćďęĚĞ"]
    vocabulary = {token: number for number, token in enumerate([*specials, *characters])}
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token=specials[0]))
    core.pre_tokenizer = tokenizers.pre_tokenizers.Split(
        tokenizers.Regex(r"[\s\S]"), behavior="isolated"
    )
    core.decoder = tokenizers.decoders.Fuse()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token=specials[0],
        pad_token=specials[1],
        eos_token=specials[3],
        additional_special_tokens=specials[2:3],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, out: Path) -> None:
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    _separate_padding(out)


def _separate_padding(folder: Path) -> None:
    """Give the tokenizer a padding token that is not its end token.

    A model whose padding is its end of answer learns to ignore the end and never stops
    (arc24, iteration 29).
    """
    tokenizer = load_tokenizer(folder)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        if tokenizer.unk_token_id in (None, tokenizer.eos_token_id):
            raise ValueError(
                f"the tokenizer in {folder} has no token to pad with but its end token"
                f" {tokenizer.eos_token!r}; give it a pad_token of its own"
            )
        tokenizer.pad_token = tokenizer.unk_token
        tokenizer.save_pretrained(folder)


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


def cut_vocabulary(model: PreTrainedModel, kept: np.ndarray) -> None:
    """Leave a model the embeddings and logits of some tokens, which are renumbered by place.

    An adapter of its other layers fits the whole model as well.

    Args:
        model: The model, changed in place.
        kept: Numbers of the tokens in rising order, int64 (n,).
    """
    ends: tuple[Any, Any] = model.get_input_embeddings(), model.get_output_embeddings()
    # Tied ends have one weight, and still do with one cut for both.
    cut = {
        whole: torch.nn.Parameter(
            whole.detach()[torch.as_tensor(kept, device=whole.device)], whole.requires_grad
        )
        for end in ends
        for whole in (end.weight, getattr(end, "bias", None))
        if whole is not None
    }
    for end in ends:
        end.weight = cut[end.weight]
        if getattr(end, "bias", None) is not None:
            end.bias = cut[end.bias]
    embedding, head = ends
    embedding.num_embeddings, embedding.padding_idx = len(kept), None
    head.out_features = len(kept)
    model.config.vocab_size = len(kept)
