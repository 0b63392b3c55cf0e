"""Chat templates that trainers' packages ship, and folders with a tokenizer for each of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]
MARKED = """{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' %}
{%- generation %}{{- message.content + '<|im_end|>' }}{%- endgeneration %}
{%- else %}
{{- message.content + '<|im_end|>' }}
{%- endif %}
{{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""
"""ChatML with marks around what is learned."""


class Known(NamedTuple):
    """Where a template comes from, and the special tokens that its models have."""

    source: str
    """``trl/NAME``, ``axolotl/NAME``, ``own`` or ``none``."""
    eos: str
    bos: str | None = None
    llamafactory: str | None = None
    """LLaMA-Factory's name for the family's template; None: it parses the tokenizer's."""
    pieces: str = "bytes"
    """``bytes`` (GPT-2's way) or ``metaspace`` (sentencepiece's way)."""


TEMPLATES: dict[str, Known] = {
    "qwen2_5": Known("trl/qwen2_5", "<|im_end|>", llamafactory="qwen"),
    "qwen3": Known("trl/qwen3", "<|im_end|>", llamafactory="qwen3_nothink"),
    "qwen3_instruct_2507": Known("trl/qwen3_instruct_2507", "<|im_end|>"),
    "llama3": Known("trl/llama3", "<|eot_id|>", "<|begin_of_text|>", "llama3"),
    "llama3_2": Known("trl/llama3_2", "<|eot_id|>", "<|begin_of_text|>", "llama3"),
    "gemma": Known("trl/gemma", "<eos>", "<bos>", "gemma", pieces="metaspace"),
    "gemma3": Known("trl/gemma3", "<eos>", "<bos>", "gemma3", pieces="metaspace"),
    "phi3": Known("trl/phi3", "<|endoftext|>", None, "phi", pieces="metaspace"),
    "deepseekv3": Known(
        "trl/deepseekv3",
        "<\uff5cend\u2581of\u2581sentence\uff5c>",
        "<\uff5cbegin\u2581of\u2581sentence\uff5c>",
        "deepseek3",
    ),
    "glm4moe": Known("trl/glm4moe", "<|endoftext|>", None, "glm4_moe"),
    "gptoss": Known("trl/gptoss", "<|return|>", "<|startoftext|>", "gpt_oss"),
    "cohere": Known("trl/cohere", "<|END_OF_TURN_TOKEN|>", "<BOS_TOKEN>", "cohere"),
    "lfm2": Known("trl/lfm2", "<|im_end|>", "<|startoftext|>"),
    "mistral_v1": Known("axolotl/mistral_v1", "</s>", "<s>", "mistral", pieces="metaspace"),
    "mistral_v7_tekken": Known("axolotl/mistral_v7_tekken", "</s>", "<s>", "mistral_small"),
    "falcon_h1": Known("axolotl/falcon_h1", "<|im_end|>", "<|begin_of_text|>"),
    "exaone": Known("axolotl/exaone", "[|endofturn|]", "[BOS]"),
    "phi_4": Known("axolotl/phi_4", "<|im_end|>", None, "phi4"),
    "ChatML with marks": Known("own", "<|im_end|>"),
    "no template": Known("none", "</s>", "<s>"),
}
_SPECIAL = re.compile(
    "<[|\uff5c][^<>{}'\"\\s]{1,40}[|\uff5c]>"
    r"|<(?:start|end)_of_turn>|\[/?(?:INST|SYSTEM_PROMPT|TOOL_[A-Z]+|"
    r"AVAILABLE_TOOLS)\]|\[\|[a-z]+\|\]"
)
"""Marks that the tokenizers of these templates have as tokens."""


def template_text(known: Known, packages: dict[str, Path]) -> str | None:
    """The text of a template; ``packages``: site-packages by trainer."""
    kind, _, name = known.source.partition("/")
    if kind == "trl":
        return (packages["trl"] / f"trl/chat_templates/{name}.jinja").read_text("utf-8")
    if kind == "axolotl":
        folder = packages["axolotl"] / "axolotl/utils/chat_templates/templates"
        return (folder / f"{name}.jinja").read_text("utf-8")
    return MARKED if kind == "own" else None


def write_model(known: Known, folder: Path, packages: dict[str, Path]) -> Path:
    """A folder with a tokenizer that has the template, and the config.json of a tiny model."""
    template = template_text(known, packages)
    special = [known.eos, "<|pad|>", *([known.bos] if known.bos else [])]
    special += sorted(set(_SPECIAL.findall(template or "")) - set(special))
    folder.mkdir(parents=True, exist_ok=True)
    size = _write_tokenizer(folder / "tokenizer.json", special, known.pieces)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": known.eos,
        "pad_token": "<|pad|>",
        **({"bos_token": known.bos} if known.bos else {}),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "vocab_size": size,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _write_tokenizer(file: Path, special: list[str], pieces: str) -> int:
    """A tokenizer.json learned from this project's texts; returns the number of its tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(byte_fallback=pieces == "metaspace"))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if pieces == "metaspace":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
        alphabet = []
        special = [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1200 + len(special), special_tokens=special, initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    tokenizer.save(str(file))
    return int(tokenizer.get_vocab_size())


def _texts() -> Iterator[str]:
    for file in sorted((ROOT / "docs").glob("*.md")):
        yield file.read_text(encoding="utf-8")
