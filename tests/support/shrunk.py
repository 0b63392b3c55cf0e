"""One small config.json for each model type that has a reader."""

from __future__ import annotations

BASE: dict[str, object] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 160,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SERIES: dict[str, object] = {
    "patch_size": 4,
    "num_layers": 3,
    "hidden_size": 64,
    "num_features": 2,
    "embedding_dim": 4,
    "max_length": 32,
    "max_sequence_length": 32,
    "use_position_embedding": True,
    "use_position_idx": False,
    "use_layer_norm": False,
}
ALL_HEADS: dict[str, object] = {**BASE, "num_key_value_heads": 4}

SHRUNK: dict[str, dict[str, object]] = {
    "llama": BASE,
    "mistral": {**BASE, "head_dim": 32},
    "qwen2": {**BASE, "tie_word_embeddings": True},
    "qwen3": {**BASE, "head_dim": 32},
    "mixtral": {**BASE, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {
        **BASE,
        "head_dim": 32,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
    },
    "gemma": {**ALL_HEADS, "head_dim": 16},
    "gemma2": {**BASE, "head_dim": 32},
    "gemma3_text": {**BASE, "head_dim": 32},
    "phi3": BASE,
    "opt": {**ALL_HEADS, "ffn_dim": 96, "word_embed_proj_dim": 64},
    "gpt_neox": ALL_HEADS,
    "chatts": {**BASE, "ts": SERIES, "ts_token_start_index": 3, "ts_token_end_index": 4},
    "qwen3ts": {
        **BASE,
        "head_dim": 32,
        "ts": {**SERIES, "use_position_embedding": False, "use_position_idx": True},
        "ts_token_start_index": 3,
        "ts_token_end_index": 4,
    },
    "granite": {**BASE, "logits_scaling": 4.0, "residual_multiplier": 0.5},
    "smollm3": {**BASE, "no_rope_layers": [1, 0]},
    "olmo2": BASE,
    "olmo3": BASE,
    "glm": {**BASE, "head_dim": 32},
    "glm4": {**BASE, "head_dim": 32},
    "phi": BASE,
    "cohere": BASE,
    "cohere2": {**BASE, "head_dim": 32},
    "stablelm": BASE,
    "starcoder2": BASE,
}

VARIANTS: list[tuple[str, dict[str, object]]] = [
    ("llama", {"attention_bias": True, "mlp_bias": True}),
    ("llama", {"tie_word_embeddings": True, "head_dim": 8}),
    ("qwen2", {"tie_word_embeddings": False}),
    ("qwen3", {"attention_bias": True}),
    ("qwen3_moe", {"attention_bias": True}),
    ("gemma", {"attention_bias": True}),
    ("gemma2", {"attention_bias": True}),
    ("gemma3_text", {"attention_bias": True}),
    ("gemma", {"tie_word_embeddings": False}),
    ("phi3", {"tie_word_embeddings": True}),
    ("opt", {"tie_word_embeddings": False}),
    ("gpt_neox", {"attention_bias": False}),
    ("gpt_neox", {"tie_word_embeddings": True}),
    ("granite", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    ("granite", {"head_dim": 32, "num_key_value_heads": 1}),
    ("smollm3", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False}),
    ("olmo2", {"attention_bias": True, "tie_word_embeddings": True, "num_key_value_heads": 1}),
    ("olmo3", {"attention_bias": True, "num_key_value_heads": 4}),
    ("glm", {"attention_bias": False, "tie_word_embeddings": True}),
    ("glm4", {"attention_bias": False, "head_dim": 24, "num_key_value_heads": 1}),
    ("phi", {"qk_layernorm": True}),
    ("phi", {"num_key_value_heads": 1, "intermediate_size": 200}),
    ("cohere", {"use_qk_norm": True, "attention_bias": True}),
    ("cohere", {"tie_word_embeddings": False, "num_key_value_heads": 1}),
    ("cohere2", {"attention_bias": True, "num_key_value_heads": 1}),
    ("stablelm", {"use_qkv_bias": True, "use_parallel_residual": True}),
    ("stablelm", {"tie_word_embeddings": True, "num_key_value_heads": 1}),
    ("starcoder2", {"use_bias": False, "tie_word_embeddings": False}),
    ("starcoder2", {"residual_dropout": 0.1, "num_key_value_heads": 1, "head_dim": 24}),
    ("chatts", {"ts": {**SERIES, "use_layer_norm": True}}),
]
"""Keys whose both values occur in the wild."""


def config_of(model_type: str, **changes: object) -> dict[str, object]:
    """The small config of a model type."""
    return {"model_type": model_type, **SHRUNK[model_type], **changes}
