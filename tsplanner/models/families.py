"""What is known of a family's arithmetic, from public reports."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from memory_models.frozen import frozen


class Trouble(StrEnum):
    """What overflows."""

    ACTIVATIONS = "activations"
    GRADIENTS = "gradients"


@frozen
class HalfTrouble:
    """A report that fp16, whose largest number is 65,504, is too small for a family."""

    family: str
    """As people call it."""
    of: Trouble
    source: str


NO_FLASH = frozenset({"gemma3", "gemma4", "llama4", "mllama", "paligemma"})
"""Model types whose class takes no flash_attention_2: images need masks of their own. Source:
``_supports_flash_attn`` of transformers' classes, which a test asks."""

FLEX_WITHOUT_FORMULA = frozenset({"gpt_oss"})
"""Model types without a formula whose attention was compared by flex_attention's rules: sinks and
windows. Types with a formula all take it but those of ``NO_FLASH`` and those that run eager alone,
whose scores have terms of their own."""

NOT_STREAMED = frozenset(
    {
        *("cpmant", "dory", "gemma3n", "gemma3n_text", "gemma4", "gemma4_text", "gemma4_unified"),
        *("glm_moe_dsa", "hy_v4", "rwkv", "xlm", "xlnet", "xlstm", "zamba", "zamba2", "zaya"),
    }
)
"""Model types whose layers hand on more than their result, share weights, or have work between
them, so that no layer can be run outside the model. Source: four layers of 180 types of
transformers 5.24, streamed and whole (2026-11-29); the worker refuses others by itself."""

_GEMMA = "huggingface/transformers issue 39972, unslothai/unsloth pull request 4014"

FP16_TROUBLE: Mapping[str, HalfTrouble] = {
    "gemma2": HalfTrouble(family="Gemma 2", of=Trouble.ACTIVATIONS, source=_GEMMA),
    "gemma3": HalfTrouble(family="Gemma 3", of=Trouble.ACTIVATIONS, source=_GEMMA),
    "gemma3_text": HalfTrouble(family="Gemma 3", of=Trouble.ACTIVATIONS, source=_GEMMA),
    "qwen3_moe": HalfTrouble(
        family="Qwen3 MoE",
        of=Trouble.GRADIENTS,
        source="unslothai/unsloth-zoo pull request 866",
    ),
}
"""By ``model_type``. To add a family, add a row with its source."""
