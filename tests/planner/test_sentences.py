"""Reasons in words: in both languages, and word for word as people read them."""

from __future__ import annotations

import pytest

from memory_models.settings import (
    Dtype,
    Optimizer,
    Quantization,
    from_flat,
)
from tsplanner.planner.sentences import describe
from tsplanner.planner.settings import HardwareSettings


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "bf16 · one GPU"),
        ({"world_size": 2}, "bf16 · DDP x2"),
        ({"accelerator": "cpu", "model_dtype": Dtype.FP32}, "fp32 · CPU"),
        ({"quantization": Quantization.NF4_DQ}, "nf4-dq · one GPU"),
        ({"zero_stage": 3, "world_size": 4}, "bf16 · ZeRO-3 x4"),
        (
            {"zero_stage": 3, "offload_param": True, "offload_optimizer": True},
            "bf16 · ZeRO-3 x1 + param and optimizer offload",
        ),
        ({"optimizer": Optimizer.ADAMW_BNB_8BIT}, "bf16 · one GPU · adamw_bnb_8bit"),
    ],
)
def test_a_family_of_plans_is_named_in_a_few_words(values: dict[str, object], words: str) -> None:
    """What sets plans apart: storage, sharding, offload, optimizer."""
    assert describe(from_flat(HardwareSettings, **values)) == words  # type: ignore[arg-type]
