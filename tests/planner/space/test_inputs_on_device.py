"""Layers' inputs wait on the device as far as that is faster, or as the host asks for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import changed
from tests.planner.space.test_streamed_layers import ELEVEN
from tests.support.rig import HOPPER
from tests.support.toy_request import GIB, request
from tsplanner.planner.evaluate import evaluate
from tsplanner.planner.explain.sentences import checkpoint_words
from tsplanner.planner.plan import Verdict
from tsplanner.planner.rank import choose
from tsplanner.planner.request import Pins, PlanRequest


def asked(model: str, gib: int, length: int, host_gib: int = 256, **pins: object) -> PlanRequest:
    """A model on an H200's arithmetic with a small memory, behind a link of 3 GB/s."""
    card = replace(
        HOPPER,
        total_bytes=gib * GIB,
        free_bytes=(gib - 1) * GIB,
        host_link_bytes_per_second=3e9,
    )
    made = request(model, card, length=length, pins=Pins(**pins))
    host = replace(made.machine.host, total_bytes=host_gib * GIB, available_bytes=host_gib * GIB)
    return replace(made, machine=replace(made.machine, host=host))


def test_where_the_link_is_slow_room_is_shared_by_weights_and_inputs() -> None:
    """A 7B on 16 GiB: fewer layers, more inputs, or the other way round, would all be slower, and
    one layer's inputs more would not surely fit.
    """
    wanted = asked("qwen2.5-7b", 16, 2048)
    plan = choose(wanted).plan
    streaming = plan.hardware.streaming
    assert plan.verdict is Verdict.FITS
    assert 0 < (streaming.inputs_on_device or 0) < 28
    for inputs in (0, None):
        ends = choose(asked("qwen2.5-7b", 16, 2048, inputs_on_device=inputs)).plan
        assert ends.time.step_seconds > 1.05 * plan.time.step_seconds
    more = changed(plan.hardware, inputs_on_device=streaming.inputs_on_device + 1)
    assert evaluate(wanted, more).verdict is not Verdict.FITS
    # Weights come in forward about as long as inputs leave.
    link = evaluate(wanted, plan.hardware).time.link
    assert link.weights == pytest.approx(link.inputs, rel=0.3)


def test_a_link_that_waits_for_nothing_is_spared_no_inputs() -> None:
    """A 14B on Turing hides all of them: room goes to layers that stay, as a plan told before."""
    plan = choose(request("qwen2.5-14b", ELEVEN, length=4096)).plan
    assert plan.hardware.streaming.inputs_on_device == 0


def test_where_the_host_is_short_inputs_that_stay_spare_it_and_the_link() -> None:
    """A 14B in rows of 16,384 tokens with 24 GiB of RAM, rounded there: a third less time than with
    all inputs sent, and less of the host.
    """
    plan, all_sent = (
        choose(asked("qwen2.5-14b", 24, 16384, host_gib=24, **pins)).plan
        for pins in ({}, {"inputs_on_device": 0})
    )
    assert plan.verdict is Verdict.FITS
    assert plan.time.step_seconds < 0.67 * all_sent.time.step_seconds
    assert plan.memory.host_bytes.upper < all_sent.memory.host_bytes.upper


def test_a_number_of_layers_that_is_an_order_leaves_its_room_to_inputs() -> None:
    """All layers of a 14B are streamed: the room that some would take holds inputs, and fewer wait
    on the host.
    """
    wanted = request("qwen2.5-14b", ELEVEN, length=4096, pins=Pins(streamed_layers=48))
    plan = choose(wanted).plan
    kept = plan.hardware.streaming.inputs_on_device
    assert plan.verdict is Verdict.FITS
    assert 0 < kept < 48
    more = changed(plan.hardware, inputs_on_device=kept + 1)
    assert evaluate(wanted, more).verdict is not Verdict.FITS
    sent = evaluate(wanted, changed(plan.hardware, inputs_on_device=0))
    assert plan.memory.host_bytes.expected < sent.memory.host_bytes.expected


def test_a_number_of_inputs_is_an_order() -> None:
    """Of how many layers, and in both languages; more than the model has is refused."""
    wanted = request("qwen2.5-14b", ELEVEN, length=1024, pins=Pins(inputs_on_device=5))
    hardware = choose(wanted).plan.hardware
    assert hardware.streaming.inputs_on_device == 5
    assert hardware.streaming.streams
    said = "checkpoints of 5 layers on the device, the others in host memory"
    assert checkpoint_words(hardware) == said
    assert checkpoint_words(hardware, None, "zh-CN") == "5 层的检查点留在设备上，其余存于主机内存"
    with pytest.raises(ValueError, match="inputs_on_device 49 is above the model's"):
        evaluate(wanted, changed(hardware, inputs_on_device=49))
