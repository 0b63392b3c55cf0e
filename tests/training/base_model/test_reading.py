"""Checkpoints as they were released: their names and shapes, nothing converted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support import tiny
from tsplanner.errors import TsplannerError
from tsplanner.models.source import read_model
from tsplanner.planner.plan import ModelRef, Plan
from tsplanner.training.base_model.build import build_model
from tsplanner.training.base_model.reading import refuse_other_keys

HIDDEN, MIDDLE, KEYS, LAYERS, WORDS, PATCH = 32, 48, 16, 2, 70, 8
INDEX = "model.safetensors.index.json"
CONFIG = {
    "architectures": ["Qwen2TSForCausalLM"],
    "hidden_size": HIDDEN,
    "intermediate_size": MIDDLE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": WORDS,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "ts_token_start_index": 60,
    "ts_token_end_index": 61,
    "pad_token_id": 0,
    "ts": {
        "patch_size": PATCH,
        "num_layers": 5,
        "hidden_size": HIDDEN,
        "num_features": 2,
        "embedding_dim": 16,
        "max_length": 512,
        "max_sequence_length": 512,
        "use_position_embedding": True,
    },
}


def shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes as the released 14B index lists them, at toy size."""
    block = {
        "input_layernorm.weight": (HIDDEN,),
        "mlp.down_proj.weight": (HIDDEN, MIDDLE),
        "mlp.gate_proj.weight": (MIDDLE, HIDDEN),
        "mlp.up_proj.weight": (MIDDLE, HIDDEN),
        "post_attention_layernorm.weight": (HIDDEN,),
        "self_attn.k_proj.bias": (KEYS,),
        "self_attn.k_proj.weight": (KEYS, HIDDEN),
        "self_attn.o_proj.weight": (HIDDEN, HIDDEN),
        "self_attn.q_proj.bias": (HIDDEN,),
        "self_attn.q_proj.weight": (HIDDEN, HIDDEN),
        "self_attn.v_proj.bias": (KEYS,),
        "self_attn.v_proj.weight": (KEYS, HIDDEN),
    }
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (WORDS, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "lm_head.weight": (WORDS, HIDDEN),
        "ts_encoder.position_embedding.weight": (513, 16),
        "ts_encoder.mlp.0.weight": (HIDDEN, 17 * PATCH),
        "ts_encoder.mlp.0.bias": (HIDDEN,),
    }
    for place in (2, 4, 6, 8):
        found |= {f"ts_encoder.mlp.{place}.weight": (HIDDEN, HIDDEN)}
        found |= {f"ts_encoder.mlp.{place}.bias": (HIDDEN,)}
    for layer in range(LAYERS):
        found |= {f"model.layers.{layer}.{name}": shape for name, shape in block.items()}
    return found


def released(folder: Path, *, model_type: str = "chatts", without: str = "") -> Path:
    """A checkpoint in fp16, in two shards with an index."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**CONFIG, "model_type": model_type}))
    torch.manual_seed(1)
    tensors = {
        name: torch.randn(shape).half() * 0.1 for name, shape in shapes().items() if name != without
    }
    places = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(tensors)}
    for file in set(places.values()):
        mine = {name: tensor for name, tensor in tensors.items() if places[name] == file}
        save_file(mine, folder / file, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (folder / INDEX).write_text(json.dumps(index))
    return folder


def plan_for(folder: Path, tmp_path: Path) -> Plan:
    """The tiny plan, for the checkpoint in ``folder``."""
    source = read_model(str(folder))
    model = ModelRef(
        name=folder.name,
        path=str(folder),
        model_type=source.architecture.model_type,
        parameters_total=0,
        parameters_trainable=0,
        config=source.config,
        has_weights=source.has_weights,
        architecture=source.architecture,
    )
    return replace(tiny.plan(tmp_path / "plan"), model=model)


@pytest.mark.parametrize("model_type", ["chatts", "qwen2"])
def test_released_weights_load_as_they_are(tmp_path: Path, model_type: str) -> None:
    """Every name is taken and every value kept; some releases call themselves qwen2."""
    folder = released(tmp_path / "checkpoint", model_type=model_type)
    model = build_model(plan_for(folder, tmp_path), torch.device("cpu"))

    loaded = model.state_dict()
    assert set(loaded) == set(shapes())
    for file in folder.glob("*.safetensors"):
        for name, value in load_file(file).items():
            assert torch.equal(loaded[name].half(), value), name


def test_a_checkpoint_without_an_encoder_weight_is_refused(tmp_path: Path) -> None:
    """A random matrix in its place would train and answer nonsense."""
    name = "ts_encoder.mlp.4.weight"
    plan = plan_for(released(tmp_path / "checkpoint"), tmp_path)
    broken = released(tmp_path / "broken", without=name)
    with pytest.raises(TsplannerError, match=f"there is no {name}, which config.json describes"):
        plan_for(broken, tmp_path)
    # A plan that was made before the file was lost meets the refusal when it is run.
    later = replace(plan, model=replace(plan.model, path=str(broken)))
    with pytest.raises(TsplannerError, match=f"lacks {name}: its config.json belongs to"):
        build_model(later, torch.device("cpu"))


def test_a_checkpoint_with_weights_that_nothing_reads_is_refused(tmp_path: Path) -> None:
    """As when config.json lost its ``ts`` section: the encoder would be left out silently."""
    folder = released(tmp_path / "checkpoint", model_type="qwen2")
    plan = plan_for(folder, tmp_path)
    values = {key: value for key, value in CONFIG.items() if key != "ts"} | {"model_type": "qwen2"}
    (folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(TsplannerError, match=r"such as ts_encoder\.mlp\.0\.weight"):
        plan_for(folder, tmp_path)
    with pytest.raises(
        TsplannerError, match=r"holds, unread, ts_encoder\.mlp\.0\.bias and 10 more"
    ):
        build_model(replace(plan, model=replace(plan.model, config=values)), torch.device("cpu"))


def test_keys_that_are_left_over_or_missing_are_counted() -> None:
    """The first of them is named."""
    refuse_other_keys({"missing_keys": [], "unexpected_keys": []}, "f")
    with pytest.raises(TsplannerError, match="in f lacks a and 1 more"):
        refuse_other_keys({"missing_keys": ["b", "a"], "unexpected_keys": []}, "f")
