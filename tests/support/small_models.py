"""Eight families of decoders, four blocks each, wide enough that blocks outweigh odds and ends."""

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
}
