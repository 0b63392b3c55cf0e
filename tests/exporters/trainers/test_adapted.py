"""What another trainer is told to adapt and to copy."""

from __future__ import annotations

import re

import pytest

from tests.support import tiny_vision
from tests.support.exports import said, written
from tests.support.golden import CASES, case
from tsplanner.errors import TsplannerError
from tsplanner.exporters.trainers import adapted
from tsplanner.exporters.trainers.adapted import sees, target_pattern
from tsplanner.models.source import read_architecture


def test_lora_targets_are_the_linears_of_a_decoder_layer_in_order() -> None:
    """All of them, or those that the plan names, whatever the order it names them in."""
    every = case("qwen2.5-7b")
    assert adapted.lora_targets(every.plan, every.plan.architecture) == [
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    ]
    two = case("qwen2.5-7b", learning={"lora_target": ("v_proj", "q_proj")})
    assert adapted.lora_targets(two.plan, two.plan.architecture) == ["q_proj", "v_proj"]


def test_copies_and_adapters_of_the_vocabulary_are_exported_by_name() -> None:
    """And what a trainer has no words for is refused."""
    saved = case("qwen2.5-7b", learning={"modules_to_save": ("lm_head",)})
    assert said(saved)["additional_target"] == "lm_head"
    thin = case("qwen2.5-7b", learning={"lora_target": ("q_proj", "embed_tokens")})
    assert adapted.lora_targets(thin.plan, thin.plan.architecture) == ["q_proj", "embed_tokens"]
    pattern = case("qwen2.5-7b", learning={"rank_pattern": (("q_proj", 4),)})
    with pytest.raises(TsplannerError, match="plan again without --rank-pattern"):
        written(pattern)


def test_an_alpha_that_is_no_whole_number_is_refused_by_name() -> None:
    """LoRA scales by alpha / rank; those trainers take integers."""
    half = case("qwen2.5-7b", learning={"lora_alpha": 4.5}).plan
    with pytest.raises(TsplannerError, match=r"TRL takes whole numbers for lora_alpha, not 4\.5"):
        adapted.whole_alpha(half, "TRL")


@pytest.mark.parametrize("model_type", ["gemma3", "llava", "qwen2_5_vl", "qwen3_vl", "mistral3"])
def test_targets_beside_a_tower_are_whole_names(model_type: str) -> None:
    """PEFT fits the pattern to the real model's names: the language model's linears alone."""
    pytest.importorskip("transformers")
    from tsplanner.training.adapters import linear_names

    found = CASES["trl"]["lora_beside_a_tower"].plan
    config = tiny_vision.config_of(model_type)
    architecture = read_architecture(config, name=model_type, source="test")
    pattern = target_pattern(found, architecture)
    names = linear_names(tiny_vision.built(model_type, device="meta"))
    hit = [name for name in names if re.fullmatch(pattern, name)]
    assert len(hit) == 3 * len(architecture.layer.linears)
    assert all("language_model.layers" in name for name in hit)


def test_a_model_of_text_alone_sees_nothing() -> None:
    """Its targets stay names."""
    assert not sees(CASES["trl"]["lora"].plan.architecture)
    assert sees(CASES["trl"]["lora_beside_a_tower"].plan.architecture)
