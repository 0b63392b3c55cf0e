"""As few layers are streamed as fit, and none where the base fits."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from memory_models.settings import Quantization, changed
from tests.support.rig import TURING
from tests.support.toy_request import EVERY_PACKAGE, GIB, HOPPER, request, with_free
from tsplanner.planner.compare import ranked
from tsplanner.planner.evaluate import Evaluated, evaluate
from tsplanner.planner.explain.reasons import Reason
from tsplanner.planner.explain.sentences import remark_sentence
from tsplanner.planner.plan import Verdict
from tsplanner.planner.rank import NothingFits, choose
from tsplanner.planner.request import Pins, PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.streamed_layers import fewest_streamed

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


def test_layers_leave_a_card_whose_room_makes_the_whole_base_slow() -> None:
    """7B at 512 tokens on 16 GiB: whole it fits with micro-batches of 2, and 16 are twice as fast.

    On 24 GiB the whole base has the micro-batch it needs, and no layer leaves.
    """
    asked = request("qwen2.5-7b", with_free(HOPPER, 16), length=512, packages=EVERY_PACKAGE)
    streamed = choose(asked)
    assert streamed.plan.verdict is Verdict.FITS
    assert 0 < streamed.plan.hardware.streaming.streamed_layers < 28
    whole = choose(replace(asked, pins=Pins(streamed_layers=0)))
    assert whole.plan.verdict is Verdict.FITS
    assert streamed.best.samples_per_second > 1.5 * whole.best.samples_per_second
    roomy = choose(request("qwen2.5-7b", with_free(HOPPER, 24), length=512, packages=EVERY_PACKAGE))
    assert not any(each.hardware.streaming.streams for each in roomy.evaluated)


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
    plan = choose(asked(streamed_layers=48, inputs_on_device=0)).plan
    assert plan.hardware.streaming.streamed_layers == 48
    assert plan.hardware.streaming.inputs_on_device == 0
    assert not choose(asked(streamed_layers=0)).plan.hardware.streaming.streams


UNLIKE = (TURING, ELEVEN)
"""A card of 22 GiB and one of 11."""


def test_unlike_cards_stream_as_few_layers_as_each_of_them_asks_for() -> None:
    """One layer less would not surely fit, on either of them; time is that of the most layers."""
    asked_ = request("qwen2.5-14b", *UNLIKE, length=4096)
    plan = choose(asked_).plan
    larger, smaller = plan.hardware.streaming.numbers
    assert plan.verdict is Verdict.FITS
    assert 10 < larger < smaller - 10
    for numbers in ((larger - 1, smaller), (larger, smaller - 1)):
        fewer = changed(plan.hardware, streamed_layers=numbers)
        assert evaluate(asked_, fewer).verdict is not Verdict.FITS
    alike = evaluate(asked_, changed(plan.hardware, streamed_layers=smaller))
    assert plan.time.step_seconds == pytest.approx(alike.time.seconds)
    assert plan.memory.host_bytes == alike.memory.host_bytes
    # As many on both is as fast, and streams more.
    assert ranked(alike, evaluate(asked_, plan.hardware)).explanation.reason is Reason.MORE_COMPLEX


def test_cards_of_one_kind_have_one_number_however_full_they_are() -> None:
    """Of two cards of 11 GiB one drives a screen: it decides, as it did."""
    screen = replace(ELEVEN, free_bytes=ELEVEN.free_bytes - GIB // 2)
    plan = choose(request("qwen2.5-14b", ELEVEN, screen, length=4096)).plan
    assert isinstance(plan.hardware.streaming.streamed_layers, int)
    alone = choose(request("qwen2.5-14b", screen, screen, length=4096)).plan
    assert plan.hardware == alone.hardware


def test_a_number_for_each_kind_of_card_takes_few_estimates() -> None:
    """Six halvings of 48 layers for all cards together, and six for each kind."""
    asked_ = request("qwen2.5-14b", *UNLIKE, length=4096)
    found = choose(asked_)
    tried: list[object] = []

    def estimate(hardware: HardwareSettings) -> Evaluated:
        tried.append(hardware)
        return evaluate(asked_, hardware)

    whole = evaluate(asked_, changed(found.plan.hardware, streamed_layers=48))
    assert fewest_streamed(asked_, whole, estimate).hardware == found.plan.hardware
    assert len(tried) <= 3 * 6


def test_unlike_numbers_are_not_taken_where_the_host_has_no_room_for_them() -> None:
    """With 11.5 and 21 GiB free other layers stay on each card: the host would hold one more."""
    cards = (
        replace(TURING, free_bytes=21 * GIB),
        replace(ELEVEN, total_bytes=13 * GIB, free_bytes=23 * GIB // 2),
    )
    roomy = request("qwen2.5-14b", *cards, length=1024)
    plan = choose(roomy).plan
    streaming = plan.hardware.streaming
    assert len(streaming.on_host(48)) == streaming.most + 1
    alike = evaluate(roomy, changed(plan.hardware, streamed_layers=streaming.most))
    between = (alike.memory.host_bytes.upper + plan.memory.host_bytes.upper) // 2
    host = replace(roomy.machine.host, available_bytes=int(between / 0.95))
    tight = replace(roomy, machine=replace(roomy.machine, host=host))
    best = fewest_streamed(tight, evaluate(tight, alike.hardware), partial(evaluate, tight))
    assert best.verdict is Verdict.FITS
    assert best.memory.host_bytes.upper <= between


def test_numbers_for_each_gpu_are_an_order_for_as_many_gpus() -> None:
    """Each number is that of the GPU in its place; the GPU that is short decides on the verdict."""
    plan = choose(request("qwen2.5-14b", *UNLIKE, length=4096, pins=Pins(**ORDER))).plan
    assert plan.hardware.streaming.streamed_layers == (30, 48)
    assert plan.hardware.sharding.world_size == 2
    turned = request("qwen2.5-14b", *UNLIKE, length=4096, pins=Pins(streamed_layers=(48, 30)))
    found = choose(turned).best
    assert found.hardware.base.quantization is not None
    found = evaluate(turned, changed(plan.hardware, streamed_layers=(48, 30)))
    assert found.verdict is Verdict.DOES_NOT_FIT
    assert found.free_bytes == ELEVEN.free_bytes
    assert found.memory.process_bytes.expected > ELEVEN.free_bytes


ORDER = {"streamed_layers": (30, 48)}
