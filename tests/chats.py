"""Imitations of the tokenizers and chat templates of model families.

The files of the models cannot be had without a network. An imitation has the special tokens of the
family, the tokens that its tokenizer puts before a text, its way to split digits, and its chat
template without tools, images and documents. All other characters are tokens of their own.
"""

# ruff: noqa: RUF001 - the special tokens of DeepSeek have such characters

from dataclasses import dataclass

import tokenizers
from tokenizers import decoders, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

ONE, THREE = r"[\s\S]", r"\d{1,3}|[\s\S]"
"""Patterns of the tokens: each character, or up to three digits."""


@dataclass(frozen=True)
class Chat:
    """The imitated tokenizer of a family."""

    template: str | None
    """The chat template; none for a base model."""
    end: str
    """The token that ends an answer in a chat."""
    bos: str = ""
    """The token before each text; empty if there is none."""
    eos: str = ""
    """The token that ends a text without a chat; empty if it is `end`."""
    pad: str | None = None
    """The padding token."""
    specials: tuple[str, ...] = ()
    """Further special tokens."""
    split: str = ONE
    """The pattern of the tokens."""
    words: bool = False
    """Whether a text starts with a space, as in SentencePiece."""

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Return the tokenizer."""
        eos = self.eos or self.end
        named = [self.bos, eos, self.end, self.pad or "", *self.specials]
        specials = [*dict.fromkeys(one for one in named if one)]
        characters = ["\n", "▁", *map(chr, range(32, 127)), *"ñò÷ûąćďęĚĞ\ue000\ue001"]
        numbers = [f"{n:0{size}}" for size in (2, 3) for n in range(10**size)]
        known = ["<unk>", *specials, *characters, *(numbers if self.split == THREE else [])]
        vocabulary = {one: number for number, one in enumerate(known)}
        core = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token=known[0]))
        core.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(self.split), "isolated")
        core.decoder = decoders.Fuse()
        if self.words:
            steps = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
            core.normalizer = normalizers.Sequence(steps)
            back = [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
            core.decoder = decoders.Sequence(back)
        core.add_special_tokens(specials)
        if self.bos:
            core.post_processor = processors.TemplateProcessing(
                single=f"{self.bos} $A", special_tokens=[(self.bos, core.token_to_id(self.bos))]
            )
        return PreTrainedTokenizerFast(
            tokenizer_object=core,
            bos_token=self.bos or None,
            eos_token=eos,
            pad_token=self.pad,
            chat_template=self.template,
        )


def _turns(turn: str, answer: str, before: str = "") -> str:
    """Return a template from the text of a message and the start of an answer."""
    return (
        f"{before}{{% for m in messages %}}{turn}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{answer}{{% endif %}}"
    )


ALTERNATE = (
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{% endif %}"
)
CHATML = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
IM = "<|im_start|>", "<|im_end|>"
NO_THOUGHTS = "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n"
LLAMA = "<|start_header_id|>{}<|end_header_id|>\n\n"
GEMMA = "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}"
DEFAULT = (
    "{% if loop.first and m.role != 'system' %}<|im_start|>system\nBe good.<|im_end|>\n{% endif %}"
)
SYSTEM = "{% if messages[0].role == 'system' %}{}{% endif %}"
AFTER_THOUGHTS = "{{ m.content.split('</think>')[-1] }}"

CHATS = {
    "smollm2": Chat(
        _turns(DEFAULT + CHATML, "<|im_start|>assistant\n"),
        end=IM[1],
        pad=IM[1],
        specials=("<|endoftext|>", IM[0]),
    ),
    "smollm3": Chat(
        _turns(
            "{% if m.role != 'system' %}" + CHATML + "{% endif %}",
            "<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}"
            "<think>\n\n</think>\n{% endif %}",
            before="{% set enable_thinking = enable_thinking | default(true) %}"
            "<|im_start|>system\n## Metadata\n\nToday Date: {{ strftime_now('%d %B %Y') }}\n"
            "Reasoning Mode: {{ '/think' if enable_thinking else '/no_think' }}\n\n"
            "## Custom Instructions\n\n{{ messages[0].content }}<|im_end|>\n",
        ),
        end=IM[1],
        specials=("<|end_of_text|>", IM[0]),
        split=THREE,
    ),
    "llama-3.1": Chat(
        _turns(
            LLAMA.format("{{ m.role }}") + "{{ m.content | trim }}<|eot_id|>",
            LLAMA.format("assistant"),
            before="{{ bos_token }}",
        ),
        end="<|eot_id|>",
        bos="<|begin_of_text|>",
        specials=("<|start_header_id|>", "<|end_header_id|>"),
        split=THREE,
    ),
    "llama-3.2": Chat(
        _turns(
            "{% if m.role != 'system' %}"
            + LLAMA.format("{{ m.role }}")
            + "{{ m.content | trim }}<|eot_id|>{% endif %}",
            LLAMA.format("assistant"),
            before="{{ bos_token }}{% if not date_string is defined %}"
            "{% if strftime_now is defined %}{% set date_string = strftime_now('%d %b %Y') %}"
            "{% else %}{% set date_string = '26 Jul 2024' %}{% endif %}{% endif %}"
            + LLAMA.format("system")
            + "Cutting Knowledge Date: December 2023\nToday Date: {{ date_string }}\n\n"
            + SYSTEM.replace("{}", "{{ messages[0].content | trim }}")
            + "<|eot_id|>",
        ),
        end="<|eot_id|>",
        bos="<|begin_of_text|>",
        pad="<|finetune_right_pad_id|>",
        specials=("<|start_header_id|>", "<|end_header_id|>"),
        split=THREE,
    ),
    "llama-3-base": Chat(None, end="<|end_of_text|>", bos="<|begin_of_text|>", split=THREE),
    "qwen2": Chat(
        _turns(DEFAULT + CHATML, "<|im_start|>assistant\n"),
        end=IM[1],
        pad="<|endoftext|>",
        specials=(IM[0],),
    ),
    "qwen2.5": Chat(
        _turns(DEFAULT + CHATML, "<|im_start|>assistant\n"),
        end=IM[1],
        pad="<|endoftext|>",
        specials=(IM[0],),
    ),
    "qwen3": Chat(
        _turns(
            "<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.last %}<think>\n\n"
            "</think>\n\n{% endif %}" + AFTER_THOUGHTS + "<|im_end|>\n",
            "<|im_start|>assistant\n" + NO_THOUGHTS + "{% endif %}",
        ),
        end=IM[1],
        pad="<|endoftext|>",
        specials=(IM[0], "<think>", "</think>"),
    ),
    "qwen3-thinking": Chat(
        _turns(
            "<|im_start|>{{ m.role }}\n" + AFTER_THOUGHTS + "<|im_end|>\n",
            "<|im_start|>assistant\n<think>\n",
        ),
        end=IM[1],
        pad="<|endoftext|>",
        specials=(IM[0], "<think>", "</think>"),
    ),
    "qwen3.5": Chat(
        _turns(
            "<|im_start|>{{ m.role }}\n" + AFTER_THOUGHTS + "<|im_end|>\n",
            "<|im_start|>assistant\n" + NO_THOUGHTS + "{% else %}<think>\n{% endif %}",
        ),
        end=IM[1],
        pad="<|endoftext|>",
        specials=(IM[0], "<think>", "</think>"),
    ),
    "gemma-2": Chat(
        _turns(
            ALTERNATE + GEMMA + "<end_of_turn>\n",
            "<start_of_turn>model\n",
            before="{{ bos_token }}{% if messages[0].role == 'system' %}"
            "{{ raise_exception('System role not supported') }}{% endif %}",
        ),
        end="<end_of_turn>",
        bos="<bos>",
        eos="<eos>",
        pad="<pad>",
        specials=("<start_of_turn>",),
    ),
    "gemma-3": Chat(
        _turns(
            ALTERNATE.replace("m.role", "m['role']")
            + GEMMA.replace("\n{{", "\n{{ prefix if loop.first else '' }}{{")
            + "<end_of_turn>\n",
            "<start_of_turn>model\n",
            before="{{ bos_token }}{% set prefix = '' %}"
            + SYSTEM.replace(
                "{}",
                "{% set prefix = messages[0].content + '\n\n' %}{% set messages = messages[1:] %}",
            ),
        ),
        end="<end_of_turn>",
        bos="<bos>",
        eos="<eos>",
        pad="<pad>",
        specials=("<start_of_turn>",),
    ),
    "gemma-4": Chat(
        _turns(
            GEMMA.replace("<start_of_turn>", "<|turn>") + "<turn|>\n",
            "<|turn>model\n",
            before="{{ bos_token }}",
        ),
        end="<turn|>",
        bos="<bos>",
        eos="<eos>",
        pad="<pad>",
        specials=("<|turn>",),
    ),
    "gemma-base": Chat(None, end="<eos>", bos="<bos>", pad="<pad>"),
    "phi-3": Chat(
        _turns("<|{{ m.role }}|>\n{{ m.content }}<|end|>\n", "<|assistant|>\n"),
        end="<|end|>",
        eos="<|endoftext|>",
        pad="<|endoftext|>",
        specials=("<|system|>", "<|user|>", "<|assistant|>"),
        words=True,
    ),
    "phi-4": Chat(
        _turns(
            "<|im_start|>{{ m.role }}<|im_sep|>{{ m.content }}<|im_end|>",
            "<|im_start|>assistant<|im_sep|>",
        ),
        end=IM[1],
        eos="<|endoftext|>",
        pad="<|endoftext|>",
        specials=(IM[0], "<|im_sep|>"),
        split=THREE,
    ),
    "mistral": Chat(
        _turns(
            ALTERNATE
            + "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
            + "{% else %}{{ m.content }}{{ eos_token }}{% endif %}",
            "",
            before="{{ bos_token }}",
        ),
        end="</s>",
        bos="<s>",
        words=True,
    ),
    "r1-distill": Chat(
        _turns(
            "{% if m.role == 'user' %}<｜User｜>{{ m.content }}{% elif m.role == 'assistant' %}"
            "<｜Assistant｜>" + AFTER_THOUGHTS + "<｜end▁of▁sentence｜>{% endif %}",
            "<｜Assistant｜><think>\n",
            before="{{ bos_token }}" + SYSTEM.replace("{}", "{{ messages[0].content }}"),
        ),
        end="<｜end▁of▁sentence｜>",
        bos="<｜begin▁of▁sentence｜>",
        pad="<｜end▁of▁sentence｜>",
        specials=("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"),
    ),
}
"""Family -> its tokenizer. Of Gemma 4, the template is guessed from its special tokens."""
