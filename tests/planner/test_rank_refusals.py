"""Choosing: what is said where there is no plan, or where rules leave candidates out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import (
    Attention,
    DecoderKernels,
    Dtype,
    FinetuningType,
    Quantization,
)
from tests.support.rig import TURING
from tests.support.toy_request import (
    GIB,
    HOPPER,
    ROOMY_HOST,
    by_host,
    request,
    with_free,
)
from tsplanner.errors import EXIT_NO_PLAN, TsplannerError
from tsplanner.planner.explain.reasons import MemoryKind
from tsplanner.planner.plan import Verdict
from tsplanner.planner.rank import NothingFits, choose
from tsplanner.planner.request import Pins
from tsplanner.planner.space.waves import evaluate_all


def test_bf16_pinned_on_turing_is_refused_with_the_reason() -> None:
    """A pin does not overrule the hardware."""
    asked = request("qwen2.5-0.5b", TURING, pins=Pins(model_dtype=Dtype.BF16))
    with pytest.raises(TsplannerError, match=r"^No plan: bf16 needs compute capability 8\.0"):
        choose(asked)


@pytest.mark.parametrize(
    ("pins", "words"),
    [
        (Pins(zero_stage=2, offload_param=True), "--zero-stage 2 and --offload-param on"),
        (Pins(zero_stage=0, offload_optimizer=True), "--zero-stage 0 and --offload-optimizer on"),
        (
            Pins(world_size=2, decoder_kernels=DecoderKernels.FUSED, zero_stage=3),
            "--kernels fused and --zero-stage 3",
        ),
    ],
)
def test_pins_that_exclude_each_other_are_named_and_no_others(pins: Pins, words: str) -> None:
    """The effective batch has nothing to do with it."""
    with pytest.raises(TsplannerError) as caught:
        choose(request("qwen2.5-0.5b", HOPPER, HOPPER, pins=pins))
    assert str(caught.value) == f"No plan: {words} exclude each other; leave one of them out."


@pytest.mark.parametrize(
    ("pins", "words"),
    [
        (Pins(passes_together=2), "No plan for this machine has --passes-together 2: leave it out"),
        (
            Pins(inputs_on_device=0),
            "No plan for this machine has --inputs-on-device 0: leave it out",
        ),
    ],
)
def test_one_pin_that_no_plan_has_excludes_nothing_but_itself(pins: Pins, words: str) -> None:
    """A base that is trained cannot be streamed."""
    with pytest.raises(TsplannerError, match=words):
        choose(request("qwen2.5-0.5b", HOPPER, pins=pins, finetuning_type=FinetuningType.FULL))


def test_what_only_streamed_layers_have_orders_them() -> None:
    """A base that would fit is streamed where its layers' inputs are to wait on the host."""
    plan = choose(request("qwen2.5-0.5b", HOPPER, pins=Pins(inputs_on_device=0))).plan
    assert plan.hardware.streaming.streams
    assert plan.hardware.streaming.inputs_on_device == 0


def test_all_that_refuses_every_candidate_is_told_at_once() -> None:
    """Whoever mends the first would meet the second."""
    pins = Pins(attention=Attention.FLASH_ATTENTION_2, quantization=Quantization.INT8, zero_stage=3)
    made = request("qwen2.5-0.5b", HOPPER, HOPPER, pins=pins)
    here = replace(made, machine=replace(made.machine, detected=True))
    with pytest.raises(TsplannerError, match=r"flash-attn.*; int8 weights are not sharded"):
        choose(here)


def test_the_refusal_of_two_pins_that_exclude_each_other_is_told_first() -> None:
    """A package that closes one branch is not the reason."""
    pins = Pins(quantization=Quantization.INT8, zero_stage=3)
    with pytest.raises(TsplannerError, match="int8 weights are not sharded by this worker"):
        choose(request("qwen2.5-72b", *[HOPPER] * 4, pins=pins))


def test_where_the_host_is_short_its_memory_is_named() -> None:
    """The cards would hold 14B offloaded; 24 GiB of RAM do not."""
    asked = by_host(
        with_free(TURING, 9), host_gib=24, pins=Pins(quantization=None, streamed_layers=0)
    )
    with pytest.raises(NothingFits, match=r"GiB of host RAM, 22\.8 GiB are free") as caught:
        choose(asked)
    failure = caught.value.failure
    assert failure.shortage.memory is MemoryKind.HOST
    assert failure.shortage.needs == failure.smallest.memory.host_bytes
    assert failure.smallest.memory.process_bytes.expected < 9 * GIB


def test_where_both_are_short_the_scarcer_one_is_named_for_the_least_of_both() -> None:
    """A 72B in NF4 on two cards of 22 GiB and 48 GiB of RAM. Bytes of a card are fewer than those
    of the host, and say nothing beside them.
    """
    pins = Pins(quantization=Quantization.NF4_DQ, fsdp=True, world_size=2)
    host = replace(ROOMY_HOST, available_bytes=48 * GIB)
    asked = request("qwen2.5-72b", *[with_free(HOPPER, 22)] * 2, host=host, pins=pins)
    evaluated, _ = evaluate_all(asked)
    with pytest.raises(NothingFits, match="of host RAM") as caught:
        choose(asked)
    found = caught.value.failure.smallest
    least = min(each.memory.process_bytes.expected for each in evaluated)
    assert found.memory.process_bytes.expected == least > 22 * GIB
    assert caught.value.failure.shortage.memory is MemoryKind.HOST


def test_an_effective_batch_that_cannot_be_made_says_what_to_change() -> None:
    """16 is not 3 x 5."""
    asked = request("qwen2.5-0.5b", HOPPER, HOPPER, HOPPER, pins=Pins(world_size=3))
    with pytest.raises(TsplannerError, match="keeps the effective batch 16 exactly"):
        choose(asked)


def test_settings_that_no_candidate_can_run_are_told_once() -> None:
    """A sequence beyond a model's learned positions is no matter of memory."""
    asked = request("opt-125m", HOPPER, length=40_000)
    with pytest.raises(TsplannerError, match="sequence_length 40000 is above") as caught:
        choose(asked)
    assert not isinstance(caught.value, NothingFits)


def test_nothing_fits_carries_its_numbers() -> None:
    """The smallest plan, what is free, what would help; the status is 4."""
    asked = request(
        "qwen2.5-72b", with_free(TURING, 10), finetuning_type=FinetuningType.FULL, packages=()
    )
    with pytest.raises(NothingFits, match=r"needs \d+\.\d GiB, 10\.0 GiB are free") as caught:
        choose(asked)
    assert caught.value.exit_status == EXIT_NO_PLAN
    failure = caught.value.failure
    assert failure.smallest.free_bytes == 10 * GIB
    assert failure.smallest.memory.process_bytes.expected > 100 * GIB
    assert failure.smallest.verdict is Verdict.DOES_NOT_FIT
    assert {found.rule for found in failure.refusals} >= {"bitsandbytes", "deepspeed"}


def test_sharding_is_nothing_to_pin_on_a_cpu() -> None:
    """The flags are named, and what is used instead of a GPU."""
    with pytest.raises(TsplannerError, match="need a GPU, and the CPU is used"):
        choose(request("qwen2.5-0.5b", pins=Pins(world_size=2)))
