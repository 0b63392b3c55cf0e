"""Configurations of transformers' own model types, made by its own configuration classes.

    python benchmarks/collect/family_configs.py     writes the models and cases of family_runs.py

``tiny_config`` makes four layers of width 64 of any type. The written models have layers of real
widths, but few of them: random weights load in seconds.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "dim", "emb_dim", "embedding_size"), 64),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "ffn_hidden_size", "n_inner", "d_ff"), 96),
    **dict.fromkeys(("decoder_ffn_dim", "encoder_ffn_dim", "dim_ff", "dff", "ff_hidden_size"), 96),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 4),
    **dict.fromkeys(("decoder_layers", "num_decoder_layers"), 4),
    "encoder_layers": 2,
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "encoder_attention_heads"), 4),
    "num_decoder_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 320,
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), 256),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk"), 2),
    "n_shared_experts": 1,
    **dict.fromkeys(("n_group", "num_expert_group"), 2),
    "topk_group": 1,
    **dict.fromkeys(("moe_intermediate_size", "expert_ffn_hidden_size"), 32),
    **dict.fromkeys(("shared_expert_intermediate_size", "shared_intermediate_size"), 32),
    "moe_shared_expert_intermediate_size": 32,
    "intermediate_size_mlp": 96,
    **dict.fromkeys(("sliding_window", "attention_window", "window_size"), 32),
    "kv_lora_rank": 16,
    "q_lora_rank": 24,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
    "index_head_dim": 32,
    "index_n_heads": 4,
    "index_topk": 32,
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads"), 4),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 16),
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_d_ssm": 128,
    "mamba_d_state": 16,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 16,
    "mamba_dt_rank": 8,
    "state_size": 16,
    "chunk_size": 16,
    "time_step_rank": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""Values of keys that many configurations have."""
KEPT_KEYS = ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id")
"""Keys of which a model of real width keeps its class's value: logits as wide as in practice."""
LATENT = "qk_rope_head_dim"
MLA = {"head_dim": None}
"""With latent attention the width of a head follows from its two parts, and no heads are shared."""
HYBRID = ["linear_attention", "hybrid", "linear_attention", "hybrid"]

OF_KIND: dict[str, dict[str, Any]] = {
    "codegen": {"rotary_dim": 8},
    "gptj": {"rotary_dim": 8},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "mamba2": {"num_heads": 8, "n_groups": 2},
    "zamba": {"layers_block_type": HYBRID, "attention_head_dim": 32, "num_key_value_heads": 4},
    "zamba2": {"layers_block_type": HYBRID, "hybrid_layer_ids": [1, 3], "n_mamba_heads": 4},
    "zaya": {"num_experts_per_tok": 1},
    "falcon": {"num_kv_heads": 1},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "rope_theta": 10_000.0, "clip_qkv": 8.0}},
    "longcat_flash": {"qk_head_dim": None, "head_dim": 8},
    "gemma3n_text": {
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_kv_shared_layers": 2,
        "hidden_size_per_layer_input": 16,
        "vocab_size_per_layer_input": 320,
        "activation_sparsity_pattern": [0.95, 0.0, 0.0, 0.0],
        "laurel_rank": 8,
    },
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2, "full_attn_idxs": None},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2, "num_dense_layers": 1},
    "hrm_text": {"num_hidden_layers": None, "num_layers_per_stack": 2},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "bamba": {"attn_layer_indices": [1, 3]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2},
    "nemotron_h": {"mamba_num_heads": 8, "mamba_head_dim": 16},
    "xmod": {"default_language": "en_XX"},
}
"""What a model type needs besides; None: the class's own value."""


def tiny_config(kind: str) -> dict[str, Any]:
    """The decoded config.json of a tiny model of a type: four layers of width 64.

    Raises whatever the configuration class refuses.
    """
    return _made(kind, SMALL, OF_KIND.get(kind, {}))


def middle_config(kind: str) -> dict[str, Any]:
    """The decoded config.json of a model of a type with few layers of real width."""
    return _made(kind, MIDDLE, MIDDLE_OF_KIND[kind])


def _made(kind: str, sizes: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    made = CONFIG_MAPPING[kind]
    keys, other_names = set(inspect.signature(made).parameters), made.attribute_map
    # Of two names of one value, only the field itself is given.
    found = {
        key: value
        for key, value in sizes.items()
        if key in keys or (other_names.get(key) in keys and other_names[key] not in sizes)
    }
    found |= {**MLA, "num_key_value_heads": sizes["num_attention_heads"]} if LATENT in keys else {}
    found |= own
    config = made(**{key: value for key, value in found.items() if value is not None})
    return dict(json.loads(config.to_json_string(use_diff=False)))


MIDDLE: dict[str, Any] = {
    **{key: value for key, value in SMALL.items() if key not in KEPT_KEYS},
    **dict.fromkeys(("hidden_size", "n_embd", "d_model"), 2048),
    **dict.fromkeys(
        ("intermediate_size", "ffn_dim", "ffn_hidden_size", "intermediate_size_mlp"), 5632
    ),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers"), 8),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads"), 16),
    "num_key_value_heads": 4,
    "head_dim": 128,
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), 2048),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 8),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 1024),
    "sliding_window": 512,
    "kv_lora_rank": 512,
    "q_lora_rank": 1024,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads"), 16),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 128),
    "mamba_n_heads": 32,
    "mamba_d_head": 64,
    "mamba_d_ssm": 2048,
    "mamba_d_state": 64,
    "mamba_chunk_size": 128,
    "state_size": 64,
    "chunk_size": 128,
}
"""Values that make a model of 0.4 to 2 billion elements, whose widths are those of real ones."""
MIDDLE_OF_KIND: dict[str, dict[str, Any]] = {
    "falcon": {"num_kv_heads": 1, "num_attention_heads": 32, "ffn_hidden_size": 8192},
    "gpt2": {"n_embd": 1600, "n_head": 25, "n_layer": 12, "n_positions": 1024, "n_inner": None},
    "gpt_oss": {"num_attention_heads": 32, "head_dim": 64, "intermediate_size": 2048},
    "bloom": {},
    "phi": {"num_key_value_heads": 16},
    "phimoe": {"intermediate_size": 2048, "num_hidden_layers": 6},
    "glm4": {},
    "granite": {},
    "granitemoe": {"intermediate_size": 2048},
    "olmo2": {},
    "olmo3": {},
    "smollm3": {},
    "qwen2_moe": {"intermediate_size": 5632},
    "deepseek_v2": {"num_hidden_layers": 6, "n_group": None, "topk_group": None},
    "deepseek_v3": {"num_hidden_layers": 6, "first_k_dense_replace": 1},
    "cohere2": {},
    "starcoder2": {"intermediate_size": 8192},
    "stablelm": {"num_key_value_heads": 16},
    "nemotron": {"intermediate_size": 8192},
    "mamba2": {"num_heads": 64, "head_dim": 64, "n_groups": 1, "num_hidden_layers": 6},
    "falcon_h1": {"num_hidden_layers": 6},
    "qwen3_next": {"moe_intermediate_size": 512, "shared_expert_intermediate_size": 512},
    "lfm2": {"layer_types": ["conv", "conv", "full_attention", "conv"] * 2},
    "llama4_text": {"intermediate_size": 2048, "hidden_size": 1536, "num_hidden_layers": 6},
    "gemma3n_text": {
        "hidden_size": 1536,
        "head_dim": 256,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "layer_types": [*["sliding_attention"] * 3, "full_attention"] * 2,
        "num_kv_shared_layers": 4,
        "activation_sparsity_pattern": [0.95] * 4 + [0.0] * 4,
    },
    "ernie4_5": {"num_key_value_heads": 2},
    "exaone4": {},
    "hunyuan_v1_dense": {"vocab_size": 128512},
    "bitnet": {},
    "persimmon": {"intermediate_size": 8192, "vocab_size": 65536},
    "mpt": {},
    "codegen": {"rotary_dim": 64, "n_inner": None},
    "gptj": {"rotary_dim": 64, "n_inner": None},
}
"""The families that ``family_runs.py`` runs, and what each needs besides."""
DORA = ("glm4", "granite", "smollm3", "starcoder2", "ernie4_5", "lfm2", "gptj")
"""Families whose third recipe is DoRA; that of the others is full fine-tuning."""
FOLDER = Path("benchmarks/data/cases")


def cases_of(kind: str, model: str) -> list[dict[str, Any]]:
    """Three recipes at 2 x 1024 tokens in bf16, with the keys of ``tsplanner estimate``."""
    shared = {"model": model, "sequence_length": 1024, "micro_batch_size": 2, "lora_rank": 16}
    kept = {"gradient_checkpointing": False}
    third = {"finetuning_type": "dora" if kind in DORA else "full"}
    return [{**shared, **changes} for changes in ({}, kept, third)]


def main() -> None:
    """Write a config.json a family, and three cases each."""
    lines = []
    for kind in MIDDLE_OF_KIND:
        file = FOLDER / "shapes" / f"h200_families-{kind}.json"
        file.write_text(json.dumps(middle_config(kind), indent=1) + "\n")
        lines += [json.dumps(case) + "\n" for case in cases_of(kind, str(file))]
    (FOLDER / "h200_families.jsonl").write_text("".join(lines))


if __name__ == "__main__":
    main()
