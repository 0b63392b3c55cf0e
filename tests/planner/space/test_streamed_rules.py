"""What cannot be streamed is refused in words."""

from __future__ import annotations

import pytest

from memory_models.settings import (
    EMBEDDING,
    FinetuningType,
    Quantization,
    changed,
    from_flat,
)
from tests.support.toy_request import HOPPER, request
from tsplanner.planner.explain.sentences import refusal_sentence
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.rules import refusal

STREAMED = from_flat(HardwareSettings, streamed_layers=8)


@pytest.mark.parametrize(
    ("hardware", "says"),
    [
        ({"zero_stage": 3}, "--zero-stage 3"),
        (
            {"quantization": Quantization.NF4, "upcast_unquantized": True},
            "--upcast-unquantized on",
        ),
        (
            {"quantization": Quantization.FP8, "stream_from_files": True},
            "--stream-from-files on and --quantization fp8",
        ),
        ({"gradient_checkpointing": False}, "--gradient-checkpointing off"),
        ({"checkpointed_layers": 3}, "--checkpointed-layers 3"),
        ({"streamed_layers": 25}, "to be streamed: 25 layers; the model has 24"),
    ],
)
def test_a_setting_that_does_not_go_with_it_is_named(
    hardware: dict[str, object], says: str
) -> None:
    """By its flag."""
    found = refusal(request("qwen2.5-0.5b", HOPPER), changed(STREAMED, **hardware))
    assert found is not None
    assert says in refusal_sentence(found)


@pytest.mark.parametrize(
    ("learning", "says"),
    [
        ({"finetuning_type": FinetuningType.FULL}, "full does not"),
        ({"finetuning_type": FinetuningType.ADALORA}, "adalora does not"),
        ({"modules_to_save": (EMBEDDING,)}, "adapters of one rank"),
    ],
)
def test_a_method_that_needs_more_than_adapters_is_refused(
    learning: dict[str, object], says: str
) -> None:
    """Only what is trained on the device all the time can be trained."""
    found = refusal(request("qwen2.5-0.5b", HOPPER, **learning), STREAMED)  # type: ignore[arg-type]
    assert found is not None
    assert says in refusal_sentence(found)


def test_dora_beside_streamed_layers_passes() -> None:
    """So does a plan that streams nothing."""
    dora = request("qwen2.5-0.5b", HOPPER, finetuning_type=FinetuningType.DORA)
    assert refusal(dora, STREAMED) is None
    assert refusal(request("qwen2.5-0.5b", HOPPER), HardwareSettings()) is None


def test_numbers_for_other_gpus_than_the_plan_uses_are_refused() -> None:
    """Two numbers are of two GPUs, on each machine."""
    asked = request("qwen2.5-0.5b", HOPPER, HOPPER)
    unlike = changed(STREAMED, streamed_layers=(8, 9))
    found = refusal(asked, unlike)
    assert found is not None
    assert refusal_sentence(found) == (
        "--streamed-layers 8,9 names 2 GPUs, and the plan would use 1"
    )
    assert refusal(asked, changed(unlike, world_size=2)) is None
