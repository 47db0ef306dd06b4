"""Fetch, convert or create base models as folders in Hugging Face format."""

import shutil
from pathlib import Path
from typing import cast

import tokenizers
import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from arcmix.config import origins
from arcmix.models import hub, pretrained
from arcmix.models.pretrained import token_id

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML, the format of the SmolLM2 and Qwen2 families."""

CAUSAL = 2e-3
"""Maximum effect of a token on the logits before it, relative to the effect on those after it."""


def from_gguf(file: Path, out: Path) -> None:
    """Convert a quantized GGUF model to a folder in Hugging Face format, in bfloat16.

    Args:
        file: The GGUF file.
        out: The folder to write.

    Raises:
        ValueError: If transformers cannot convert the file, or the model is refused by `check`.
    """
    tokenizer = pretrained.load_tokenizer(file.parent, gguf_file=file.name)
    model = pretrained.load_model(
        file.parent,
        gguf_file=file.name,
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
        OSError: As in `hub.download`.
        ValueError: As in `hub.download`, and if the model is refused by `check`.
    """
    hub.download(repository, revision, out)
    check(out)


def from_folder(folder: Path, out: Path) -> None:
    """Copy the files of a model from a local folder in Hugging Face format.

    Links out of the folder are refused: a folder from someone else could link to a private file,
    whose content would then be in DVC's cache.

    Args:
        folder: The local folder; `~` is expanded.
        out: The folder to write.

    Raises:
        ValueError: If the folder holds no model, if one of its files is a link out of it, or if
            the model is refused by `check`.
    """
    folder = folder.expanduser()
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"no config.json in {folder}: it is not a model in Hugging Face format;"
            " choose a folder with config.json, weights and tokenizer"
        )
    out.mkdir(parents=True, exist_ok=True)
    root = folder.resolve()
    names = [path.name for path in folder.iterdir() if path.is_file()]
    for name in hub.needed(names, lambda index: (folder / index).read_bytes()):
        path = folder / name
        if not path.resolve().is_relative_to(root):
            raise ValueError(
                f"{path} is a link out of its folder, to {path.resolve()}; such links are not"
                f" followed: copy the model with cp -rL {folder} COPY, and choose the copy"
            )
        shutil.copyfile(path, out / path.name)
    check(out)


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
    check(out)


def check(folder: Path) -> None:
    """Refuse a model whose numbers would be wrong without an error.

    Raises:
        ValueError: As in `pretrained.load_model`. If a weight is not finite, if a token of the
            tokenizer has no embedding, or if a token sees the tokens after it, as in BERT.
    """
    # In the type of the files, so that a model needs no more memory than its files.
    model = pretrained.load_model(folder, dtype="auto", device_map="cpu")
    tensors = model.state_dict().items()
    broken = [name for name, tensor in tensors if not tensor.isfinite().all()]
    advice = "get the files again, or choose another model"
    pretrained.refuse_weights(f"the model in {folder}", {"not finite": broken}, advice)
    rows = len(cast("torch.nn.Embedding", model.get_input_embeddings()).weight)
    vocabulary = pretrained.load_tokenizer(folder).get_vocab()
    without = [token for token, number in vocabulary.items() if number >= rows]
    if without:
        raise ValueError(
            f"the model in {folder} has embeddings for {rows} tokens, so these of its tokenizer"
            f" have none: {pretrained.listed(sorted(without))}; choose the tokenizer of the model"
        )
    if not _is_causal(model, rows):
        raise ValueError(
            f"the model in {folder} is no causal language model: the logits of a"
            f" {type(model).__name__} depend on later tokens; choose a model that reads from left"
            " to right"
        )


@torch.inference_mode()
def _is_causal(model: PreTrainedModel, rows: int) -> bool:
    """Return whether the first half of a text has the same logits for two second halves."""
    ids = torch.arange(16)[None] % rows
    other = ids.clone()
    other[:, 8:] = rows - 1 - other[:, 8:]
    one, two = (model(input_ids=text, use_cache=False).logits[0].float() for text in (ids, other))
    first, second = (one - two).abs().mean(dim=1).split(8)
    # Rounding may depend on later tokens, where these choose the experts of a layer.
    return bool(first.mean() <= CAUSAL * second.mean())
