"""A published config made tiny: the same family with every kind of layer, and a folder of it.

transformers' own configuration class fills in the keys that the file leaves out. Then widths,
counts and lengths shrink by the name of their key, and a list that has an item per layer keeps the
items of the layers that stay.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.collect.family_configs import SMALL
from tests.support import tiny

LAYERS = 4
LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "depth")
EVERY = ("attn_layer_period", "full_attention_interval", "sliding_window_pattern")
"""Keys that say which layers are of another kind: one in so many."""
RATIOS = ("n_kv_heads", "num_key_value_heads", "num_kv_heads")
SIZES: dict[str, int] = {
    **{key: value for key, value in SMALL.items() if isinstance(value, int)},
    **dict.fromkeys(("hidden_size_per_layer_input", "laurel_rank"), 16),
    **dict.fromkeys(("vocab_size_per_layer_input",), SMALL["vocab_size"]),
    **dict.fromkeys(("projection_dim", "out_hidden_size", "embed_dim", "word_embed_proj_dim"), 64),
    **dict.fromkeys(("vision_output_dim", "projector_input_dim", "projector_output_dim"), 64),
    **dict.fromkeys(("image_size",), 28),
    **dict.fromkeys(("num_experts_per_token", "experts_per_token", "moe_num_active_primary"), 2),
    **dict.fromkeys(("attention_chunk_size", "layernorm_window", "max_seq_len"), 256),
    **dict.fromkeys(("mamba_num_heads", "n_mamba_heads"), 8),
    **dict.fromkeys(("mamba_head_dim",), 16),
    **dict.fromkeys(("ssm_state_size",), 16),
    **dict.fromkeys(("rotary_dim",), 8),
    **dict.fromkeys(("conv_dim", "block_dim", "block_ff_dim", "conv_dim_out"), 64),
    **dict.fromkeys(("num_position_embeddings",), 16),
    **dict.fromkeys(("mm_tokens_per_image",), 4),
    **dict.fromkeys(("image_seq_length",), 4),
    **dict.fromkeys(("window_size",), 56),
}
"""Values by key; a key that is not here keeps the published value."""
CAPPED = {
    "first_k_dense_replace": 1,
    "num_dense_layers": 1,
    "num_kv_shared_layers": 2,
    "interleave_moe_layer_step": 2,
    "moe_layer_start_index": 1,
    "attn_layer_offset": 1,
    "max_window_layers": LAYERS,
    "num_global_layers": 1,
    "n_group": 2,
    "topk_group": 1,
    "n_groups": 1,
    "mamba_n_groups": 1,
    "n_mtp_layers": 1,
    "num_nextn_predict_layers": 1,
}
SPECIAL = ("pad_token_id", "bos_token_id", "eos_token_id")
FIRST_MARK = 300
"""Ids of image marks and the like, above the words of the tokenizer."""
ROPE = ("rope_parameters", "rope_scaling")
HALF_HEAD = 8
"""Rotary frequencies of a head of 16."""


def shrunk(config: Mapping[str, object]) -> dict[str, Any]:
    """The config of a tiny model of the same family.

    Raises whatever transformers' configuration class refuses.
    """
    from transformers import AutoConfig

    from tsplanner.training.base_model.configuration import configuration_values

    given = configuration_values(dict(config))
    given.pop("quantization_config", None)
    kind = str(config["model_type"])
    full = AutoConfig.for_model(kind, **given)
    whole = full.to_dict()
    small = _section(whole, {})
    if "architectures" in config:
        small["architectures"] = config["architectures"]
    return small


def _section(whole: dict[str, Any], marks: dict[str, int]) -> dict[str, Any]:
    """A config, or a section of it; ``marks`` collects the ids of image marks by their keys."""
    count = next((whole[key] for key in LAYER_COUNTS if isinstance(whole.get(key), int)), 0)
    places = _places(whole, count)
    heads = whole.get("num_attention_heads") or whole.get("n_head")
    found: dict[str, Any] = {}
    for key, value in whole.items():
        if value == 0 and key in EVERY:
            continue  # the class's sign for no pattern, which it refuses to be given
        if isinstance(value, dict):
            found[key] = _nested(key, value, marks)
        elif isinstance(value, (list, tuple)):
            found[key] = _list(key, list(value), count, places)
        elif isinstance(value, int) and not isinstance(value, bool):
            found[key] = _number(key, value, heads, marks)
        else:
            found[key] = value
        if key in LAYER_COUNTS and places:
            found[key] = len(places)
    if whole.get("qk_rope_head_dim") is not None:
        found.pop("head_dim", None)  # latent attention adds it up, and shares no heads
        found["num_key_value_heads"] = found["num_attention_heads"]
    return found


def _nested(key: str, value: dict[str, Any], marks: dict[str, int]) -> dict[str, Any]:
    if key in ROPE:
        return _rope(value)
    return _section(value, marks) if key.endswith("_config") else value


def _number(key: str, value: int, heads: Any, marks: dict[str, int]) -> int:
    if key in SPECIAL:
        return int(SMALL[key])
    if key.endswith(("token_id", "token_index")):
        return marks.setdefault(key, FIRST_MARK + len(marks))
    if key in RATIOS:
        return {1: 1, heads: 4}.get(value, 2)
    if key in EVERY:
        return min(value, 2)
    return min(value, CAPPED.get(key, SIZES.get(key, value)))


def _places(whole: dict[str, Any], count: int) -> list[int]:
    """The layers that stay: the first of each kind that lists of the config tell, up to four."""
    lists = [value for value in whole.values() if isinstance(value, list) and len(value) == count]
    kinds: dict[str, int] = {}
    for place in range(count):
        kinds.setdefault(str([values[place] for values in lists]), place)
    kept = sorted(kinds.values()) if len(kinds) <= 2 * LAYERS else []
    more = [place for place in range(count) if place not in kept]
    return sorted(kept + more[: max(0, min(LAYERS, count) - len(kept))])


def _list(key: str, value: list[Any], count: int, places: list[int]) -> list[Any]:
    if count and len(value) == count and len(value) > 1:
        return [_item(key, value[place]) for place in places]
    numbers = all(isinstance(item, int) and not isinstance(item, bool) for item in value)
    if numbers and ("index" in key or "layers" in key or key.endswith("_ids")):
        return [1] if value else value
    if key in SIZES and numbers:
        return [min(item, SIZES[key]) for item in value]
    return value


def _item(key: str, value: Any) -> Any:
    return min(value, SIZES[key]) if key in SIZES and isinstance(value, int) else value


def _rope(value: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for key, item in value.items():
        if key == "mrope_section":
            found[key] = [2, 3, 3]
        elif key.endswith("_factor") and isinstance(item, list):
            found[key] = item[:HALF_HEAD]
        else:
            found[key] = _rope(item) if isinstance(item, dict) else item
    return found


def write_model(config: Mapping[str, object], folder: Path) -> Path:
    """A folder with the tiny model as transformers saves it, and a tokenizer.

    Raises whatever transformers refuses.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    from tsplanner.training.language_model import auto_class

    small = shrunk(config)
    tiny.write_model(folder)
    (folder / "model.safetensors").unlink()
    found = AutoConfig.for_model(
        small["model_type"], **{key: value for key, value in small.items() if key != "model_type"}
    )
    torch.manual_seed(0)
    classifier = "SequenceClassification" in str(small.get("architectures"))
    built = AutoModelForSequenceClassification if classifier else auto_class(found)
    model = built.from_config(found)
    model.save_pretrained(folder)
    saved = json.loads((folder / "config.json").read_text())
    if "quantization_config" in config:
        saved["quantization_config"] = config["quantization_config"]
    (folder / "config.json").write_text(json.dumps(saved, indent=1))
    return folder
