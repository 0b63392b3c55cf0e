"""DeepSpeed's configuration of a plan."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from memory_models.settings import DeepSpeedConfig, Dtype, Quantization, from_flat
from memory_models.units import GIB
from tests.support.golden import case
from tests.support.sorts import H200
from tsplanner.errors import TsplannerError
from tsplanner.exporters.deepspeed import (
    DEFAULT_LIVE_ELEMENTS,
    render,
    whole_base_notes,
    zero_optimization,
)
from tsplanner.models.source import read_architecture
from tsplanner.planner.plan import ModelRef, Plan
from tsplanner.planner.settings import HardwareSettings

LLAMA = {
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 32,
}
"""One block: 64 + 32 + 32 + 64 of attention, 3 x 128 of the MLP, two norms of 8: 592."""


class FakePlan:
    """The two parts of a plan that the configuration is made of."""

    def __init__(self, config: dict[str, object], **hardware: Any) -> None:
        self.hardware = from_flat(HardwareSettings, **hardware)
        self.model = ModelRef(
            name="toy",
            path=None,
            model_type=str(config["model_type"]),
            parameters_total=1704,
            parameters_trainable=10,
            config=config,
            architecture=read_architecture(config, name="toy", source="test"),
        )
        self.architecture = self.model.architecture


def zero(config: dict[str, object] | None = None, **hardware: Any) -> dict[str, Any]:
    """The block about ZeRO."""
    document = render(FakePlan(config or LLAMA, **hardware))  # type: ignore[arg-type]
    return dict(document["zero_optimization"])


def test_a_plan_without_zero_has_no_deepspeed_configuration() -> None:
    """There is nothing to configure."""
    with pytest.raises(ValueError, match="zero_stage 0"):
        zero(zero_stage=0)


def test_zero_3_holds_two_blocks_of_the_model_gathered() -> None:
    """Two blocks of 592 elements, where DeepSpeed's default would hold the whole model.

    Of a 4-bit base a block has 576 / 2 packed bytes, each an element to DeepSpeed, and 16 of norms.
    """
    block = zero(zero_stage=3)
    assert block["stage3_max_live_parameters"] == 1184
    packed = zero(zero_stage=3, quantization=Quantization.NF4)
    assert packed["stage3_max_live_parameters"] == packed["stage3_max_reuse_distance"] == 608
    assert block["stage3_max_reuse_distance"] == 1184


def test_a_model_without_a_reader_keeps_the_limits_of_deepspeed() -> None:
    """A billion elements each."""
    block = zero_optimization(from_flat(HardwareSettings, zero_stage=3))
    assert block["stage3_max_live_parameters"] == DEFAULT_LIVE_ELEMENTS == 1_000_000_000


def test_only_zero_3_names_the_keys_of_zero_3() -> None:
    """The lower stages gather nothing."""
    assert not [key for key in zero(zero_stage=2) if key.startswith(("stage3", "sub_group"))]


@pytest.mark.parametrize("part", ["offload_optimizer", "offload_param"])
def test_what_is_offloaded_lies_in_pinned_memory(part: str) -> None:
    """Pinned memory is copied at the link's full speed."""
    assert zero(zero_stage=3, **{part: True})[part] == {"device": "cpu", "pin_memory": True}
    assert part not in zero(zero_stage=3)


def test_half_precision_follows_the_plan() -> None:
    """Bf16 needs no loss scale, fp16 has a dynamic one."""
    document = render(FakePlan(LLAMA, zero_stage=2, autocast=Dtype.FP16))  # type: ignore[arg-type]
    assert (document["fp16"]["enabled"], document["bf16"]["enabled"]) == (True, False)


def test_a_users_own_file_is_written_as_it_is() -> None:
    """Keys that nobody knows here included."""
    document = {"zero_optimization": {"stage": 3, "mine": [1, 2]}, "bf16": {"enabled": True}}
    own = DeepSpeedConfig(
        stage3_max_live_parameters=1,
        stage3_max_reuse_distance=1,
        sub_group_size=1,
        text=json.dumps(document),
    )
    plan = FakePlan(LLAMA, zero_stage=3, deepspeed=own)
    assert render(plan) == document  # type: ignore[arg-type]


def with_free(gib: float, stage: int = 3) -> Plan:
    """Qwen2.5-7B in NF4 on two cards with so much free each."""
    found = case("qwen2.5-7b", 2, quantization=Quantization.NF4, zero_stage=stage)
    device = replace(H200, free_bytes=int(gib * GIB))
    machine = replace(found.plan.machine, devices=(device, device))
    return replace(found.plan, machine=machine)


def test_the_whole_base_is_named_where_it_has_room() -> None:
    """6.53e9 weights at 9/16 of a byte and 1.09e9 at two: 5.45 GiB."""
    (line,) = whole_base_notes(with_free(20), "TRL", force=False)
    assert "whole 4-bit base, 5.5 GiB, until DeepSpeed has partitioned it" in line
    assert whole_base_notes(with_free(20, stage=2), "TRL", force=False) == []


def test_a_card_that_cannot_hold_it_is_refused_unless_forced() -> None:
    """The plan itself fits: half of it lies on each."""
    short = with_free(5)
    with pytest.raises(TsplannerError, match=r"TRL loads the whole 4-bit base, 5.5 GiB, .*5.0 GiB"):
        whole_base_notes(short, "TRL", force=False)
    assert whole_base_notes(short, "TRL", force=True)
