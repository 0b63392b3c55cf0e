"""What a plan says of a mixture's experts."""

from __future__ import annotations

from typing import Any

import pytest

from memory_models.settings import FinetuningType, Quantization
from tests.support.toy_request import HOPPER, request
from tsplanner.planner.explain.expert_remarks import expert_remarks, too_large_experts
from tsplanner.planner.explain.reasons import RemarkKind
from tsplanner.planner.explain.sentences import CHINESE, ENGLISH, remark_sentence
from tsplanner.planner.settings import HardwareSettings

MIXTURE = "qwen3-30b-a3b"
FROM_ATTENTION = RemarkKind.PEFT_ADAPTS_EXPERTS


def kinds(
    model: str = MIXTURE, hardware: HardwareSettings | None = None, **learning: Any
) -> list[RemarkKind]:
    """The remarks on a request."""
    asked = request(model, HOPPER, **learning)
    return [each.kind for each in expert_remarks(asked, hardware or HardwareSettings())]


def test_all_linear_says_what_it_leaves_out() -> None:
    """With the names that would reach the experts, and what PEFT's own all-linear would train."""
    (remark,) = expert_remarks(request(MIXTURE, HOPPER, lora_rank=8), HardwareSettings())
    assert remark.kind is FROM_ATTENTION
    words = remark_sentence(remark, ENGLISH)
    assert "the experts, 95% of the parameters, stay frozen" in words
    assert "--lora-target q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj" in words
    assert "497,418,240" in words
    assert "498,253,824" in words
    assert "专家" in remark_sentence(remark, CHINESE)


@pytest.mark.parametrize(
    ("learning", "expected"),
    [
        ({"lora_target": ("q_proj",)}, [RemarkKind.EXPERTS_STAY_FROZEN]),
        ({"lora_dropout": 0.1}, [RemarkKind.EXPERTS_STAY_FROZEN]),
        ({"finetuning_type": FinetuningType.DORA}, [RemarkKind.EXPERTS_STAY_FROZEN]),
        ({"lora_target": ("q_proj", "down_proj")}, []),
        ({"finetuning_type": FinetuningType.FULL}, []),
    ],
)
def test_only_what_stays_frozen_unasked_is_told(
    learning: dict[str, Any], expected: list[RemarkKind]
) -> None:
    """No names are offered where PEFT could not adapt the experts that way."""
    assert kinds(**learning) == expected


def test_a_dense_model_has_nothing_to_tell() -> None:
    """It has no experts."""
    assert kinds("qwen2.5-0.5b") == []
    assert list(too_large_experts(request("qwen2.5-0.5b", HOPPER))) == []


@pytest.mark.parametrize(
    ("upcast", "kind"),
    [(False, RemarkKind.EXPERTS_NOT_QUANTIZED), (True, RemarkKind.EXPERTS_UPCAST)],
)
def test_a_quantised_base_leaves_the_experts_whole(upcast: bool, kind: RemarkKind) -> None:
    """And where PEFT's preparation casts them, it doubles them."""
    from memory_models.settings import from_flat

    hardware = from_flat(HardwareSettings, quantization=Quantization.NF4, upcast_unquantized=upcast)
    assert kinds(hardware=hardware) == [FROM_ATTENTION, kind]


def test_the_form_that_leaves_experts_whole_is_named() -> None:
    """8-bit products are ours: bitsandbytes has no part in them."""
    from memory_models.settings import from_flat

    hardware = from_flat(HardwareSettings, quantization=Quantization.FP8)
    *_, remark = expert_remarks(request("qwen3-30b-a3b", HOPPER), hardware)
    assert remark_sentence(remark).startswith("fp8 leaves fused experts as they are: 95%")


def test_where_nothing_fits_four_bits_are_no_way_out() -> None:
    """People read otherwise of Mixtral."""
    (remark,) = too_large_experts(request("mixtral-8x7b", HOPPER))
    assert "97% of the parameters" in remark_sentence(remark)
