"""Families of decoders, four blocks each, wide enough that blocks outweigh odds and ends."""

from __future__ import annotations

_LLAMA: dict[str, object] = {
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 4,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
}
_GEMMA = {**_LLAMA, "head_dim": 64, "tie_word_embeddings": True}

CONFIGS: dict[str, dict[str, object]] = {
    "llama": {"model_type": "llama", **_LLAMA},
    "qwen2": {"model_type": "qwen2", **_LLAMA, "tie_word_embeddings": True},
    "qwen3": {"model_type": "qwen3", **_LLAMA, "head_dim": 64},
    "gemma2": {
        "model_type": "gemma2",
        **_GEMMA,
        "sliding_window": 4096,
        "query_pre_attn_scalar": 64,
    },
    "gemma3": {
        "model_type": "gemma3_text",
        **_GEMMA,
        "sliding_window": 4096,
        "query_pre_attn_scalar": 64,
    },
    "phi3": {"model_type": "phi3", **_LLAMA, "pad_token_id": 0},
    "opt": {
        "model_type": "opt",
        "hidden_size": 1024,
        "ffn_dim": 4096,
        "num_hidden_layers": 4,
        "num_attention_heads": 16,
        "word_embed_proj_dim": 1024,
        "vocab_size": 32000,
        "max_position_embeddings": 2048,
        "do_layer_norm_before": True,
    },
    "gpt_neox": {
        "model_type": "gpt_neox",
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 4,
        "num_attention_heads": 16,
        "vocab_size": 32000,
        "max_position_embeddings": 2048,
    },
    "granite": {
        "model_type": "granite",
        **_LLAMA,
        "tie_word_embeddings": True,
        "logits_scaling": 8.0,
        "residual_multiplier": 0.22,
        "embedding_multiplier": 12.0,
    },
    "smollm3": {
        "model_type": "smollm3",
        **_LLAMA,
        "no_rope_layers": [1, 1, 1, 0],
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "olmo2": {"model_type": "olmo2", **_LLAMA, "eos_token_id": 2},
    "olmo3": {"model_type": "olmo3", **_LLAMA, "sliding_window": 4096, "eos_token_id": 2},
    "glm4": {
        "model_type": "glm4",
        **_LLAMA,
        "head_dim": 64,
        "attention_bias": False,
        "pad_token_id": 0,
        "eos_token_id": 2,
    },
    "phi": {"model_type": "phi", **_LLAMA, "num_key_value_heads": 16, "hidden_act": "gelu_new"},
    "cohere": {
        "model_type": "cohere",
        **_LLAMA,
        "num_key_value_heads": 16,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "cohere2": {
        "model_type": "cohere2",
        **_LLAMA,
        "head_dim": 64,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "stablelm": {"model_type": "stablelm", **_LLAMA, "partial_rotary_factor": 0.25},
    "starcoder2": {
        "model_type": "starcoder2",
        **_LLAMA,
        "intermediate_size": 4096,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
}
