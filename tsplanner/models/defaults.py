"""Defaults of a family for keys that a config.json leaves out and nothing else implies.

Source: transformers' configuration classes. Published Gemma 3 configs rely on these defaults.
"""

from __future__ import annotations

from collections.abc import Mapping

DEFAULTS: Mapping[str, Mapping[str, object]] = {
    "mistral": {
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
        "sliding_window": 4096,
    },
    "mixtral": {
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
        "num_local_experts": 8,
    },
    "qwen2": {"max_position_embeddings": 32_768},
    "qwen3": {"head_dim": 128, "max_position_embeddings": 32_768},
    "qwen3ts": {"head_dim": 128, "max_position_embeddings": 32_768},
    "qwen3_moe": {
        "num_key_value_heads": 4,
        "num_experts_per_tok": 8,
        "max_position_embeddings": 32_768,
    },
    "gemma": {
        "num_key_value_heads": 16,
        "head_dim": 256,
        "vocab_size": 256_000,
        "max_position_embeddings": 8192,
    },
    "gemma2": {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 256_000,
        "max_position_embeddings": 8192,
        "sliding_window": 4096,
    },
    "gemma3_text": {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262_208,
        "max_position_embeddings": 131_072,
        "sliding_window": 4096,
        "sliding_window_pattern": 6,
    },
    "phi3": {"max_position_embeddings": 4096},
    "smollm3": {"num_key_value_heads": 4, "max_position_embeddings": 32_768},
    "olmo3": {"sliding_window": 4096},
    "glm": {
        "num_key_value_heads": 2,
        "head_dim": 128,
        "max_position_embeddings": 131_072,
    },
    "glm4": {
        "num_key_value_heads": 2,
        "head_dim": 128,
        "max_position_embeddings": 131_072,
    },
    "cohere": {"max_position_embeddings": 8192},
    "cohere2": {
        "max_position_embeddings": 8192,
        "sliding_window": 4096,
        "sliding_window_pattern": 4,
    },
    "stablelm": {"num_key_value_heads": 32, "max_position_embeddings": 4096},
    "starcoder2": {"num_key_value_heads": 2, "max_position_embeddings": 4096},
}


def with_defaults(defaults: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
    """The given keys, and the defaults of the others.

    A null key means the default, so it must not hide that default.
    """
    known = {key: each for key, each in given.items() if each is not None or key in NULL_IS_NONE}
    return {**defaults, **known}


NULL_IS_NONE = frozenset({"sliding_window"})
"""Keys for which null is a value of its own (no window) and does not mean the default."""
