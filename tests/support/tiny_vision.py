"""Tiny vision-language models of many types: their configs, and folders that transformers saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support import tiny

TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "max_position_embeddings": 256,
}
TOWER: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
"""As many layers as the language model, so that a count of layers alone cannot tell them apart."""
SIGLIP = {**TOWER, "model_type": "siglip_vision_model", "vision_use_head": False}
CLIP = {**TOWER, "model_type": "clip_vision_model", "projection_dim": 16}
QWEN: dict[str, Any] = {
    "depth": 3,
    "hidden_size": 16,
    "out_hidden_size": 32,
    "intermediate_size": 32,
    "num_heads": 2,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
DEEP = {**QWEN, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
ROPE = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
QWEN_IDS = {
    "image_token_id": 120,
    "video_token_id": 121,
    "vision_start_token_id": 122,
    "vision_end_token_id": 123,
}
IMAGE = {"image_token_index": 120}
MARKS = {**IMAGE, "boi_token_index": 121, "eoi_token_index": 122}


def _text(model_type: str, **more: Any) -> dict[str, Any]:
    return {**TEXT, "model_type": model_type, **more}


CONFIGS: dict[str, dict[str, Any]] = {
    "gemma3": {
        "text_config": _text("gemma3_text", head_dim=8, sliding_window=16),
        "vision_config": SIGLIP,
        "mm_tokens_per_image": 4,
        **MARKS,
    },
    "mistral3": {
        "text_config": _text("mistral", head_dim=8),
        "vision_config": {**TOWER, "model_type": "pixtral"},
        "tie_word_embeddings": False,
        **IMAGE,
    },
    "llava": {"text_config": _text("llama"), "vision_config": CLIP, **IMAGE},
    "llava_next": {
        "text_config": _text("mistral"),
        "vision_config": CLIP,
        "image_grid_pinpoints": [[28, 28]],
        **IMAGE,
    },
    "llava_onevision": {
        "text_config": _text("qwen2"),
        "vision_config": SIGLIP,
        "image_grid_pinpoints": [[28, 28]],
        "video_token_index": 121,
        **IMAGE,
    },
    "qwen2_vl": {
        "text_config": _text("qwen2_vl_text", rope_parameters=ROPE),
        "vision_config": {**QWEN, "embed_dim": 16, "hidden_size": 32, "mlp_ratio": 2},
        **QWEN_IDS,
    },
    "qwen2_5_vl": {
        "text_config": _text("qwen2_5_vl_text", rope_parameters=ROPE),
        "vision_config": {**QWEN, "window_size": 56, "fullatt_block_indexes": [1]},
        **QWEN_IDS,
    },
    "qwen3_vl": {
        "text_config": _text("qwen3_vl_text", head_dim=8, rope_parameters=ROPE),
        "vision_config": DEEP,
        **QWEN_IDS,
    },
    "qwen3_vl_moe": {
        "text_config": _text(
            "qwen3_vl_moe_text",
            head_dim=8,
            rope_parameters=ROPE,
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=16,
        ),
        "vision_config": DEEP,
        **QWEN_IDS,
    },
    "qwen3_5": {
        "text_config": _text(
            "qwen3_5_text",
            head_dim=8,
            linear_num_key_heads=2,
            linear_num_value_heads=8,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
            layer_types=["linear_attention", "full_attention", "linear_attention"],
        ),
        "vision_config": {**QWEN, "num_position_embeddings": 16},
        **QWEN_IDS,
    },
    "llama4": {
        "text_config": _text(
            "llama4_text",
            head_dim=8,
            intermediate_size_mlp=64,
            num_local_experts=2,
            num_experts_per_tok=1,
            attention_chunk_size=64,
        ),
        "vision_config": {
            **TOWER,
            "model_type": "llama4_vision_model",
            "intermediate_size": 64,
            "vision_output_dim": 32,
            "projector_input_dim": 32,
            "projector_output_dim": 32,
        },
        **MARKS,
    },
    "mllama": {
        "text_config": _text("mllama_text_model", cross_attention_layers=[1], pad_token_id=0),
        "vision_config": {
            **TOWER,
            "model_type": "mllama_vision_model",
            "num_global_layers": 1,
            "attention_heads": 2,
            "vision_output_dim": 32,
            "intermediate_layers_indices": [1],
            "max_num_tiles": 1,
            "supported_aspect_ratios": [[1, 1]],
        },
        **IMAGE,
    },
    "internvl": {
        "text_config": _text("qwen2"),
        "vision_config": {**TOWER, "image_size": [28, 28], "patch_size": [14, 14]},
        "image_token_id": 120,
    },
    "idefics3": {
        "text_config": _text("llama"),
        "vision_config": {**TOWER, "model_type": "idefics3_vision"},
        "image_token_id": 120,
    },
    "smolvlm": {
        "text_config": _text("llama"),
        "vision_config": {**TOWER, "model_type": "smolvlm_vision"},
        "image_token_id": 120,
    },
    "aya_vision": {
        "text_config": _text("cohere2", head_dim=8, logit_scale=0.25),
        "vision_config": SIGLIP,
        **IMAGE,
    },
    "paligemma": {
        "text_config": _text("gemma2", head_dim=8, attn_logit_softcapping=None),
        "vision_config": {**SIGLIP, "projection_dim": 32},
        "projection_dim": 32,
        **IMAGE,
    },
    "glm4v": {
        "text_config": _text("glm4v_text", rope_parameters=ROPE, pad_token_id=0),
        "vision_config": {**QWEN, "image_size": 28},
        "image_start_token_id": 124,
        "image_end_token_id": 125,
        "video_start_token_id": 126,
        "video_end_token_id": 127,
        **QWEN_IDS,
    },
    "gemma4": {
        "text_config": _text(
            "gemma4_text",
            head_dim=8,
            global_head_dim=8,
            sliding_window=16,
            vocab_size_per_layer_input=128,
            hidden_size_per_layer_input=8,
            num_kv_shared_layers=0,
            pad_token_id=0,
        ),
        "vision_config": {**TOWER, "num_key_value_heads": 2, "head_dim": 8},
        "audio_config": None,
        "image_token_id": 120,
    },
}
"""By ``model_type``, without that key."""


def config_of(model_type: str) -> dict[str, Any]:
    """A whole config.json."""
    return {"model_type": model_type, **CONFIGS[model_type]}


def built(model_type: str, device: str = "cpu") -> Any:
    """The model of transformers with random weights of a fixed seed."""
    import torch
    from transformers import AutoConfig

    from tsplanner.training.base_model.configuration import attention_of
    from tsplanner.training.language_model import auto_class

    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **CONFIGS[model_type])
    with torch.device(device):
        model = auto_class(config).from_config(
            config, attn_implementation=attention_of(config, "sdpa")
        )
    model.config.use_cache = False
    return model


def write_model(model_type: str, folder: Path) -> Path:
    """A folder with config.json and weights as transformers saves them, and a tokenizer."""
    tiny.write_model(folder)
    built(model_type).save_pretrained(folder)
    return folder
