"""Small models of families without a reader, built by transformers' own configuration classes."""

from __future__ import annotations

from typing import Any

STRANGERS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 64, "n_layer": 4, "n_head": 4, "vocab_size": 160, "n_positions": 2048},
    "falcon": {
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "vocab_size": 160,
        "alibi": False,
    },
    # A dense layer below three sparse ones.
    "deepseek_v2": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "moe_intermediate_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "first_k_dense_replace": 1,
        "q_lora_rank": None,
        "kv_lora_rank": 32,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 16,
        "v_head_dim": 16,
        "n_group": 1,
        "topk_group": 1,
        "vocab_size": 160,
    },
}


def config_of(model_type: str) -> dict[str, object]:
    """The config.json that transformers writes for a small model."""
    from transformers import AutoConfig

    found = AutoConfig.for_model(model_type, **STRANGERS[model_type]).to_dict()
    return {key: value for key, value in found.items() if value is not None}
