"""As few layers are streamed as fit, and none where the base fits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import Quantization, changed
from tests.support.rig import TURING
from tests.support.toy_request import GIB, request
from tsplanner.planner.evaluate import evaluate
from tsplanner.planner.explain.sentences import remark_sentence
from tsplanner.planner.plan import Verdict
from tsplanner.planner.rank import NothingFits, choose
from tsplanner.planner.request import Pins, PlanRequest

ELEVEN = replace(TURING, name="RTX 2080 Ti 11 GiB", total_bytes=11 * GIB, free_bytes=10 * GIB)


def asked(**pins: object) -> PlanRequest:
    """14B in fp16 on 11 GiB, which the layers alone exceed by far."""
    return request("qwen2.5-14b", ELEVEN, length=4096, pins=Pins(**pins))


def test_a_number_is_an_order() -> None:
    """0 leaves NF4 and offload; 48 streams what fewer would stream as well."""
    found = choose(asked(streamed_layers=0))
    assert not any(each.hardware.streaming.streams for each in found.evaluated)
    ordered = choose(asked(streamed_layers=48)).plan
    assert ordered.hardware.streaming.streamed_layers == 48


def test_a_base_that_fits_is_not_streamed() -> None:
    """0.5B on the same card."""
    found = choose(request("qwen2.5-0.5b", ELEVEN))
    assert not any(each.hardware.streaming.streams for each in found.evaluated)


def test_one_streamed_layer_less_would_not_surely_fit() -> None:
    """The planner halves the range until it knows the number."""
    plan = choose(asked()).plan
    number = plan.hardware.streaming.streamed_layers
    assert plan.verdict is Verdict.FITS
    assert 30 < number <= 48
    fewer = changed(plan.hardware, streamed_layers=number - 1)
    assert evaluate(asked(), fewer).verdict is not Verdict.FITS


def test_streaming_goes_before_offload_and_before_rounding() -> None:
    """Both are shown beside it: ZeRO-3 moves the base per micro-batch, NF4 rounds it."""
    choice = choose(asked())
    others = [row.evaluated.hardware for row in choice.alternatives]
    assert choice.plan.hardware.base.quantization is None
    assert any(each.sharding.offload_param for each in others)
    assert any(each.base.quantization for each in others)
    offloaded = next(each for each in choice.evaluated if each.hardware.sharding.offload_param)
    assert choice.best.samples_per_second > 1.2 * offloaded.samples_per_second


def with_host(gib: int, **liberties: bool) -> PlanRequest:
    """The same with so much free host memory."""
    made = asked()
    host = replace(made.machine.host, total_bytes=gib * GIB, available_bytes=gib * GIB)
    return replace(made, machine=replace(made.machine, host=host), **liberties)


def test_where_the_host_is_short_as_well_the_layers_are_rounded_there() -> None:
    """27 GiB of layers are not streamed from 16 GiB: the base is rounded, and the plan says why."""
    plan = choose(with_host(16)).plan
    assert plan.verdict is Verdict.FITS
    assert plan.hardware.base.quantization is Quantization.NF4_DQ
    rounded = choose(with_host(20, allow_rounding=True))
    assert rounded.plan.hardware.base.quantization is Quantization.W8A8
    assert rounded.plan.hardware.streaming.streams
    said = " ".join(remark_sentence(remark) for remark in rounded.remarks)
    assert "is over the host's memory" in said


def test_where_not_even_rounded_layers_have_room_they_stay_in_the_models_files() -> None:
    """14B on 8 GiB of a card and 4.5 GiB of RAM: the plan reads 25 GB twice a step, and says so."""
    small = replace(ELEVEN, total_bytes=9 * GIB, free_bytes=8 * GIB)
    made = request("qwen2.5-14b", small, length=256)
    host = replace(made.machine.host, total_bytes=7 * GIB, available_bytes=9 * GIB // 2)
    made = replace(made, machine=replace(made.machine, host=host))
    choice = choose(made)
    streaming = choice.plan.hardware.streaming
    assert streaming.stream_from_files
    assert choice.plan.hardware.base.quantization is None
    said = " ".join(remark_sentence(remark) for remark in choice.remarks)
    assert "streamed from the model's files" in said
    assert "at 2 GB/s, not measured" in said
    assert choice.plan.memory.host_bytes.upper < 9 * GIB // 2
    # Two layers of 0.55 GB less than 48 of them, both ways.
    link = choice.best.time.link
    assert link.weights == pytest.approx(46 * 0.5506e9 / 2e9, rel=0.02)
    with pytest.raises(NothingFits, match="host"):
        choose(replace(made, pins=Pins(stream_from_files=False)))


def test_pins_decide_how_many_layers_and_where_their_inputs_wait() -> None:
    """None at all is a pin, too."""
    plan = choose(asked(streamed_layers=48, host_checkpoints=True)).plan
    assert plan.hardware.streaming.streamed_layers == 48
    assert plan.hardware.streaming.host_checkpoints
    assert not choose(asked(streamed_layers=0)).plan.hardware.streaming.streams
