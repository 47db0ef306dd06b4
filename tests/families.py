"""Small models with the architectures of families, with random weights."""

from pathlib import Path

import torch
import transformers
from transformers import PreTrainedModel

from arcmix.models import fetch

ROWS = 160
"""Rows of the embeddings."""

SIZES = {
    "vocab_size": ROWS,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 8192,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}
LINEAR = {
    "num_hidden_layers": 4,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
}
CONFIGS = {
    "smollm2": ("LlamaConfig", {"tie_word_embeddings": True}),
    "smollm3": ("SmolLM3Config", {"no_rope_layers": [1, 0]}),
    "llama-3": ("LlamaConfig", {"rope_parameters": LLAMA_3}),
    "qwen2": ("Qwen2Config", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3Config", {}),
    "qwen3.5": ("Qwen3_5TextConfig", LINEAR),
    "qwen3-next": ("Qwen3NextConfig", LINEAR | EXPERTS),
    "gemma-2": ("Gemma2Config", {"sliding_window": 4096}),
    "gemma-3": (
        "Gemma3TextConfig",
        {"sliding_window": 512, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "gemma-4": (
        "Gemma4TextConfig",
        {
            "sliding_window": 512,
            "num_hidden_layers": 4,
            "vocab_size_per_layer_input": ROWS,
            "hidden_size_per_layer_input": 8,
        },
    ),
    "phi-3": ("Phi3Config", {"sliding_window": 2047}),
    "mistral": ("MistralConfig", {"sliding_window": 4096}),
    "mixtral": ("MixtralConfig", {"sliding_window": None, "num_local_experts": 4}),
    "lfm2": (
        "Lfm2Config",
        {"num_hidden_layers": 3, "layer_types": ["conv", "conv", "full_attention"]},
    ),
    "gpt-oss": ("GptOssConfig", {"num_local_experts": 4, "sliding_window": 128}),
    "opt": ("OPTConfig", {"ffn_dim": 96, "word_embed_proj_dim": 64}),
}
"""Family -> the class of its config, and what differs from `SIZES`."""
VISION = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
IMAGES = {
    "gemma-3-images": ("Gemma3Config", "gemma-3", {"image_size": 28, "patch_size": 14}),
    "gemma-4-images": ("Gemma4Config", "gemma-4", {"num_key_value_heads": 2, "head_dim": 16}),
}
"""Family that also reads images -> the class of its config, the family of its text model, and what
differs from `VISION`."""


def config(family: str, **changes: object) -> transformers.PreTrainedConfig:
    """Return the config of a small model of a family."""
    if family in IMAGES:
        kind, text, own = IMAGES[family]
        return getattr(transformers, kind)(
            text_config=config(text, **changes).to_dict(), vision_config=VISION | own
        )
    kind, own = CONFIGS[family]
    return getattr(transformers, kind)(**SIZES | own | changes)


def model(family: str, dtype: str = "float32", **changes: object) -> PreTrainedModel:
    """Return a small model of a family."""
    transformers.set_seed(0)
    made = transformers.AutoModelForCausalLM.from_config(config(family, **changes))
    return made.to(getattr(torch, dtype)).eval()


def write(folder: Path, family: str, dtype: str = "float32", **changes: object) -> None:
    """Write a small model of a family with a character tokenizer."""
    model(family, dtype, **changes).save_pretrained(folder)
    fetch.character_tokenizer().save_pretrained(folder)
