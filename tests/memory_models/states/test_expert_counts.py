"""What adapters on the experts would train, worked out by hand on a toy and as PEFT counts it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import Method, TrainingSettings, from_flat
from memory_models.states.expert_counts import (
    count_with_experts,
    expert_share,
    peft_all_linear_count,
    targets_with_experts,
)
from tests.memory_models.states.test_expert_adapters import SHARED
from tests.support.toy_decoder import EXPERTS, TOY
from tsplanner.models.source import read_model


def everything(rank: int = 2) -> Method:
    """LoRA on all linears."""
    return from_flat(TrainingSettings, lora_rank=rank).method  # type: ignore[no-any-return]


def test_the_experts_are_a_share_of_the_parameters() -> None:
    """Two blocks of 4 x 3 matrices 8 x 16: 3,072 of the toy's; of the published mixture 95 %."""
    from memory_models.states.weights import total_parameters

    assert expert_share(EXPERTS) == 3072 / total_parameters(EXPERTS)
    assert expert_share(TOY) == 0
    assert expert_share(read_model("qwen3-30b-a3b").architecture) == pytest.approx(0.95, abs=0.005)


def test_the_names_that_would_reach_the_experts() -> None:
    """Where a shared expert has the usual names, the parameters' own names are left."""
    attention = ("q_proj", "k_proj", "v_proj", "o_proj")
    usual = ("gate_proj", "up_proj", "down_proj")
    assert targets_with_experts(EXPERTS, everything()) == (*attention, *usual)
    claimed = replace(SHARED, model_type="deepseek_v3")
    assert targets_with_experts(claimed, everything()) == (*attention, *usual)
    shared = replace(SHARED, model_type="qwen2_moe")
    assert targets_with_experts(shared, everything())[-4:] == (*usual, "gate_up_proj")


def test_the_count_with_experts() -> None:
    """Attention 112 a block, gate and up 4 x 4 x 40, down 4 x 2 x 24, in two blocks."""
    assert count_with_experts(EXPERTS, everything()) == 2 * (112 + 640 + 192)


def test_pefts_own_all_linear_takes_the_router_too() -> None:
    """As PEFT 0.21.2 counts on a meta device; None where it knows no names of experts."""
    published = read_model("qwen3-30b-a3b").architecture
    assert peft_all_linear_count(published, everything(8)) == 498_253_824
    assert peft_all_linear_count(replace(EXPERTS, model_type="granitemoe"), everything()) is None
