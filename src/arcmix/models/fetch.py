"""Fetch, convert or create base models as folders in Hugging Face format."""

import shutil
from pathlib import Path

import huggingface_hub
import tokenizers
import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from arcmix.config import origins
from arcmix.models.pretrained import load_tokenizer, token_id

HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.jinja", "*.txt")
"""Files of a hub repository that a model needs: no code, and no second copy of the weights."""

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML, the format of the SmolLM2 and Qwen2 families."""


def from_gguf(file: Path, out: Path) -> None:
    """Convert a quantized GGUF model to a folder in Hugging Face format, in bfloat16.

    Args:
        file: The GGUF file.
        out: The folder to write.
    """
    names = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(**names)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        **names,
        dtype=torch.bfloat16,
        quantization_config=transformers.GgufConfig(dequantize=True),
    )
    _save(model, tokenizer, out)


def from_hub(repository: str, revision: str, out: Path) -> None:
    """Download a model repository from the Hugging Face hub at one commit.

    Args:
        repository: Its name, `owner/name`.
        revision: The commit.
        out: The folder to write.

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
            " where the hub cannot be reached, set HF_ENDPOINT to a mirror,"
            " or download the model elsewhere and choose a model of kind folder"
        ) from error
    shutil.rmtree(out / ".cache", ignore_errors=True)
    _separate_padding(out)


def from_folder(folder: Path, out: Path) -> None:
    """Copy a local folder in Hugging Face format.

    Args:
        folder: The local folder; `~` is expanded.
        out: The folder to write.

    Raises:
        ValueError: If the folder holds no model, or if its tokenizer can pad only with its
            end token.
    """
    folder = folder.expanduser()
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"no config.json in {folder}: it is not a model in Hugging Face format;"
            " choose a folder with config.json, weights and tokenizer"
        )
    shutil.copytree(folder, out, dirs_exist_ok=True)
    _separate_padding(out)


def random(settings: origins.RandomModel, out: Path) -> None:
    """Write a Llama model with random weights, and a character tokenizer.

    Args:
        settings: The size of the model and the seed of its weights.
        out: The folder to write.
    """
    tokenizer = character_tokenizer()
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden,
        intermediate_size=2 * settings.hidden,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        max_position_embeddings=settings.positions,
        tie_word_embeddings=True,
        # Large enough for a frozen output layer to be confident; otherwise no adapter could learn.
        initializer_range=2 * settings.hidden**-0.5,
        bos_token_id=None,
        eos_token_id=token_id(tokenizer, str(tokenizer.eos_token)),
        pad_token_id=token_id(tokenizer, str(tokenizer.pad_token)),
    )
    transformers.set_seed(settings.seed)
    _save(transformers.LlamaForCausalLM(config), tokenizer, out)


def character_tokenizer() -> PreTrainedTokenizerBase:
    """Return a tokenizer with a token for each printable ASCII and encoder character."""
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
    """Give the tokenizer a padding token that differs from its end token.

    If both are one token, the model learns to ignore the end of an answer and never stops
    (arc24, iteration 29).
    """
    tokenizer = load_tokenizer(folder)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        if tokenizer.unk_token_id in (None, tokenizer.eos_token_id):
            raise ValueError(
                f"the tokenizer in {folder} can pad only with its end token"
                f" {tokenizer.eos_token!r}; add another token to it and set it as pad_token"
            )
        tokenizer.pad_token = tokenizer.unk_token
        tokenizer.save_pretrained(folder)
