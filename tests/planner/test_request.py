"""What a user pins, and which settings keep to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import Quantization, from_flat
from tests.support.toy_request import HOPPER, request
from tsplanner.planner.request import Pins
from tsplanner.planner.settings import HardwareSettings


def test_a_field_pinned_to_none_is_not_an_open_one() -> None:
    """``quantization`` pinned to None forbids quantisation; left out, it is the planner's."""
    pins = Pins(quantization=None)
    assert "quantization" in pins
    assert "zero_stage" not in pins
    assert pins.get("quantization", Quantization.NF4) is None
    assert pins.get("zero_stage", 2) == 2


def test_requests_share_what_is_equal_in_them() -> None:
    """A machine that was read a second time is the first one, so that caches need not compare."""
    first, second = (request("qwen2.5-3b", HOPPER, replace(HOPPER)) for _ in range(2))
    assert second.machine is first.machine
    assert second.architecture is first.architecture
    other = replace(HOPPER, free_bytes=HOPPER.free_bytes - 1)
    assert request("qwen2.5-3b", HOPPER, other).machine != first.machine


def test_a_name_that_is_no_hardware_setting_cannot_be_pinned() -> None:
    """A misspelt pin would pin nothing."""
    with pytest.raises(TypeError, match="no field micro_batch"):
        Pins(micro_batch=4)


def test_pins_are_added_and_replaced_in_a_copy() -> None:
    """The first pins stay as they were."""
    first = Pins(world_size=2, zero_stage=2)
    second = first.with_(zero_stage=3, offload_param=True)
    assert dict(first.values) == {"world_size": 2, "zero_stage": 2}
    assert dict(second.values) == {"world_size": 2, "zero_stage": 3, "offload_param": True}


@pytest.mark.parametrize(
    ("values", "allowed"),
    [
        ({"world_size": 2, "micro_batch_size": 4}, True),
        ({"world_size": 2, "micro_batch_size": 2}, False),
        ({"world_size": 1, "micro_batch_size": 4}, False),
    ],
)
def test_settings_are_allowed_if_every_pin_holds(values: dict[str, int], allowed: bool) -> None:
    """One pin that is broken is enough to refuse."""
    pins = Pins(world_size=2, micro_batch_size=4)
    assert pins.allow(from_flat(HardwareSettings, **values)) is allowed


def test_the_cpu_is_used_if_asked_for_or_if_there_is_no_gpu() -> None:
    """A GPU that stands there does not overrule the user."""
    with_gpu = request("qwen2.5-0.5b", HOPPER)
    assert not with_gpu.on_cpu
    assert replace(with_gpu, forced_cpu=True).on_cpu
    assert request("qwen2.5-0.5b").on_cpu


def test_equal_numbers_of_streamed_layers_are_pinned_as_one() -> None:
    """A list in a file says the same as the number that candidates have."""
    assert Pins(streamed_layers=(24, 24)) == Pins(streamed_layers=24)
    assert Pins(streamed_layers=(24, 48)).get("streamed_layers") == (24, 48)
