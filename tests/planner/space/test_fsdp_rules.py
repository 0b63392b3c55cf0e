"""A base is shared out where its slices can be trained on, and refused in words elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import FinetuningType, Quantization, changed, from_flat
from tests.support.toy_request import HOPPER, request
from tsplanner.planner.explain.sentences import describe, refusal_sentence
from tsplanner.planner.rank import choose
from tsplanner.planner.request import Pins
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.rules import refusal

SHARED = from_flat(HardwareSettings, world_size=2, fsdp=True)
TWO = (HOPPER, HOPPER)


@pytest.mark.parametrize(
    ("hardware", "learning", "says"),
    [
        ({"world_size": 1}, {}, "--world-size 1"),
        ({"quantization": Quantization.INT8}, {}, "--quantization int8"),
        ({"streamed_layers": 3}, {}, "--streamed-layers 3"),
        ({}, {"finetuning_type": FinetuningType.FULL}, "--finetuning-type full"),
    ],
)
def test_a_setting_that_does_not_go_with_it_is_named(
    hardware: dict[str, object], learning: dict[str, object], says: str
) -> None:
    """By its flag."""
    asked = request("qwen2.5-0.5b", *TWO, **learning)  # type: ignore[arg-type]
    found = refusal(asked, changed(SHARED, **hardware))
    assert found is not None
    assert says in refusal_sentence(found)


@pytest.mark.parametrize("quantization", [None, Quantization.NF4])
def test_plain_and_4_bit_bases_pass(quantization: Quantization | None) -> None:
    """So does DoRA."""
    dora = request("qwen2.5-0.5b", *TWO, finetuning_type=FinetuningType.DORA)
    assert refusal(dora, changed(SHARED, quantization=quantization)) is None


def test_only_a_pin_shares_the_base_out() -> None:
    """Without it two cards train by DDP; with it by FSDP2 on both."""
    asked = request("qwen2.5-0.5b", *TWO)
    assert "FSDP2" not in describe(choose(asked).plan.hardware)
    pinned = replace(asked, pins=Pins(fsdp=True))
    assert "FSDP2 x2" in describe(choose(pinned).plan.hardware)
