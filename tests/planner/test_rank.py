"""Choosing: the fastest plan that fits, and why the others lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.device import Device
from memory_models.settings import (
    Attention,
    DecoderKernels,
    Dtype,
    FinetuningType,
    Optimizer,
    Quantization,
)
from tests.support.rig import TURING
from tests.support.toy_request import (
    EVERY_PACKAGE,
    GIB,
    HOPPER,
    ROOMY_HOST,
    request,
    with_free,
)
from tsplanner.errors import EXIT_NO_PLAN, TsplannerError
from tsplanner.hardware.nodes import machines_alike, stated_link
from tsplanner.planner.compare import SPEED_TIE
from tsplanner.planner.explain.reasons import MemoryKind, Reason, RemarkKind, RuleName
from tsplanner.planner.explain.sentences import describe, explanation_sentence, refusal_sentence
from tsplanner.planner.plan import Verdict
from tsplanner.planner.rank import (
    Choice,
    NothingFits,
    choose,
    evaluate_all,
)
from tsplanner.planner.request import Pins, PlanRequest


def test_the_choice_is_deterministic() -> None:
    """The same question has the same answer, alternatives and refusals included."""
    asked = request("qwen2.5-7b", TURING, TURING)
    assert choose(asked) == choose(asked)


def test_turing_trains_in_fp16_with_sdpa() -> None:
    """bf16 needs compute capability 8.0; FlashAttention-2 is not tried, installed or not."""
    choice = choose(request("qwen2.5-0.5b", TURING, packages=EVERY_PACKAGE))
    hardware = choice.plan.hardware
    assert (hardware.base.model_dtype, hardware.base.autocast) == (Dtype.FP16, Dtype.FP16)
    assert hardware.kernels.attention is Attention.SDPA
    assert not choice.refusals


@pytest.mark.parametrize(
    ("pins", "attention"),
    [
        (Pins(), Attention.SDPA),
        (Pins(attention=Attention.FLASH_ATTENTION_2), Attention.FLASH_ATTENTION_2),
    ],
)
def test_flash_attention_is_taken_only_where_a_person_asks_for_it(
    pins: Pins, attention: Attention
) -> None:
    """It was planned and never run."""
    asked = request("qwen2.5-0.5b", HOPPER, packages=EVERY_PACKAGE, pins=pins)
    evaluated, _ = evaluate_all(asked)
    assert {found.hardware.kernels.attention for found in evaluated} == {attention}


def test_bf16_pinned_on_turing_is_refused_with_the_reason() -> None:
    """A pin does not overrule the hardware."""
    asked = request("qwen2.5-0.5b", TURING, pins=Pins(model_dtype=Dtype.BF16))
    with pytest.raises(TsplannerError, match=r"^No plan: bf16 needs compute capability 8\.0"):
        choose(asked)


def test_a_plain_base_that_fits_is_not_quantised() -> None:
    """Quantisation changes what is learned: it is not even looked at."""
    evaluated, _ = evaluate_all(request("qwen2.5-7b", HOPPER))
    assert {found.hardware.base.quantization for found in evaluated} == {None}


def test_a_base_that_does_not_fit_is_quantised() -> None:
    """28 GiB of 14B weights on a 22-GiB card, and none of them may be streamed: NF4."""
    pins = Pins(streamed_layers=0)
    choice = choose(request("qwen2.5-14b", TURING, packages=("bitsandbytes",), pins=pins))
    assert choice.plan.hardware.base.quantization is Quantization.NF4_DQ
    assert choice.plan.verdict is Verdict.FITS


@pytest.mark.parametrize("pinned", Quantization)
def test_a_pinned_quantisation_is_used_where_the_plain_base_fits(pinned: Quantization) -> None:
    """The user asked for it."""
    pins = Pins(quantization=pinned)
    choice = choose(request("qwen2.5-0.5b", HOPPER, pins=pins))
    assert choice.plan.hardware.base.quantization is pinned


def by_host(*cards: Device, host_gib: int = 512, **changes: object) -> PlanRequest:
    """14B in fp16 on cards of 22 GiB: sharded or offloaded, or whole in 4 bits."""
    host = replace(ROOMY_HOST, available_bytes=host_gib * GIB)
    made = request("qwen2.5-14b", *cards, host=host)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_base_that_fits_offloaded_is_not_rounded_for_speed() -> None:
    """4 bits are shown first among the others, and 8-bit products are taken on request alone."""
    pins = Pins(streamed_layers=0)
    kept = choose(replace(by_host(TURING), pins=pins))
    assert kept.plan.hardware.base.quantization is None
    assert kept.plan.hardware.sharding.offload_param
    assert kept.shown[0].evaluated.hardware.base.quantization is Quantization.NF4_DQ
    assert kept.shown[0].relative_speed > 1.1
    reasons = [explanation_sentence(row.explanation) for row in kept.shown]
    assert "rounds the base to 4 bits" in reasons
    taken = choose(replace(by_host(TURING, allow_rounding=True), pins=pins)).plan
    assert taken.hardware.base.quantization is Quantization.W8A8
    assert taken.time.step_seconds < kept.plan.time.step_seconds


def test_rounding_that_is_allowed_is_no_end_in_itself() -> None:
    """Where the plain base fits whole, nothing is gained by 4 bits: 8-bit products are faster."""
    asked = replace(request("qwen2.5-7b", HOPPER), allow_rounding=True)
    taken = choose(asked)
    assert taken.plan.hardware.base.quantization is Quantization.FP8
    quantizations = {found.hardware.base.quantization for found in taken.evaluated}
    assert quantizations == {None, Quantization.FP8}
    # Full fine-tuning has no frozen base, so that there is nothing to round.
    full = request("qwen2.5-0.5b", HOPPER, finetuning_type=FinetuningType.FULL)
    assert choose(replace(full, allow_rounding=True)).plan.hardware == choose(full).plan.hardware


@pytest.mark.parametrize(
    ("card", "form"), [(HOPPER, Quantization.FP8), (TURING, Quantization.W8A8)], ids=["fp8", "w8a8"]
)
def test_what_8_bit_products_would_gain_is_shown_and_not_taken(
    card: Device, form: Quantization
) -> None:
    """Large products are bound by arithmetic, and a plain plan does not round them unasked."""
    found = choose(request("qwen2.5-7b", card, length=2048))
    assert found.plan.hardware.base.quantization is None
    (row,) = [each for each in found.shown if each.evaluated.hardware.base.quantization is form]
    assert row.relative_speed > 1.1
    assert explanation_sentence(row.explanation) == (
        "rounds the base and its products to 8 bits (--allow-rounding)"
    )
    assert row.evaluated.verdict is Verdict.FITS


def test_states_are_rounded_only_where_whole_ones_do_not_fit_or_by_leave() -> None:
    """Full fine-tuning of 32B on eight H200: whole states fit with offload."""
    asked = request(
        "qwen2.5-32b",
        *[with_free(HOPPER, 79)] * 8,
        length=2048,
        finetuning_type=FinetuningType.FULL,
    )
    kept = choose(asked).plan
    assert kept.hardware.kernels.optimizer is Optimizer.ADAMW_TORCH_FUSED
    taken = choose(replace(asked, allow_rounding=True)).plan
    assert taken.hardware.kernels.optimizer is Optimizer.ADAMW_BNB_8BIT
    assert taken.time.step_seconds < kept.time.step_seconds


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


def test_a_row_that_a_replay_found_too_large_is_not_called_as_fast() -> None:
    """A faster plan whose quick bound fits may be tight when its step is replayed."""
    choice = choose(request("qwen2.5-0.5b", with_free(TURING, 8), length=2048))
    faster = [row for row in choice.front if row.relative_speed > 1 + SPEED_TIE]
    assert faster
    assert {row.explanation.reason for row in faster} <= {Reason.TIGHT, Reason.OVER}


def test_all_that_refuses_every_candidate_is_told_at_once() -> None:
    """Whoever mends the first would meet the second."""
    pins = Pins(attention=Attention.FLASH_ATTENTION_2, quantization=Quantization.INT8, zero_stage=3)
    with pytest.raises(TsplannerError, match=r"flash-attn.*; int8 weights are not sharded"):
        choose(request("qwen2.5-0.5b", HOPPER, HOPPER, pins=pins))


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


def test_zero_3_alone_rounds_no_base_to_4_bits() -> None:
    """No GPU has run that yet, so that a person asks for both; a plain base may then be tight."""
    cards = [with_free(TURING, 21)] * 2
    alone = choose(request("qwen2.5-14b", *cards, pins=Pins(zero_stage=3, world_size=2)))
    assert alone.plan.hardware.base.quantization is None
    both = Pins(zero_stage=3, world_size=2, quantization=Quantization.NF4)
    assert choose(request("qwen2.5-14b", *cards, pins=both)).plan.hardware.base.has_4bit


def test_no_quantisation_can_be_pinned_too() -> None:
    """Then a base that does not fit is an answer, not a reason to quantise."""
    pins = Pins(quantization=None, streamed_layers=0)
    asked = request("qwen2.5-14b", TURING, packages=("bitsandbytes",), pins=pins)
    with pytest.raises(NothingFits):
        choose(asked)


def test_a_plan_that_fits_wins_over_a_faster_tight_one() -> None:
    """At some free memory the fastest plan is tight: the chosen one is slower and sure."""
    passed_over = 0
    for tenths in range(30, 120, 3):
        asked = request("qwen2.5-0.5b", with_free(HOPPER, tenths / 10), packages=())
        evaluated, _ = evaluate_all(asked)
        sure = [found for found in evaluated if found.verdict is Verdict.FITS]
        if not sure:
            continue
        plan = choose(asked).plan
        assert plan.verdict is Verdict.FITS
        speed = max(found.samples_per_second for found in sure)
        tight = [found for found in evaluated if found.verdict is Verdict.TIGHT]
        passed_over += any(found.samples_per_second > speed for found in tight)
    assert passed_over


def test_free_memory_decides_and_not_the_cards_name() -> None:
    """The same 141-GiB card with 4 GiB left holds a smaller plan, with 1 GiB none."""
    roomy = choose(request("qwen2.5-0.5b", HOPPER, packages=())).plan
    full = choose(request("qwen2.5-0.5b", with_free(HOPPER, 4), packages=())).plan
    assert full.machine.devices[0].total_bytes == roomy.machine.devices[0].total_bytes
    assert full.memory.process_bytes.upper <= 4 * GIB < roomy.memory.process_bytes.upper
    with pytest.raises(NothingFits):
        choose(request("qwen2.5-0.5b", with_free(HOPPER, 1), packages=()))


def test_of_two_cards_the_fuller_one_counts() -> None:
    """A rank does not move memory to its neighbour."""
    pins = Pins(world_size=2)
    plan = choose(request("qwen2.5-0.5b", HOPPER, with_free(HOPPER, 8), pins=pins)).plan
    assert plan.free_bytes == 8 * GIB
    alone = choose(
        request("qwen2.5-0.5b", with_free(HOPPER, 8), HOPPER, pins=Pins(world_size=1))
    ).plan
    assert alone.free_bytes == 139 * GIB


def test_the_plan_is_the_fastest_of_those_that_fit() -> None:
    """Within two hundredths, which fewer moving parts decide."""
    asked = request("qwen2.5-0.5b", HOPPER)
    evaluated, _ = evaluate_all(asked)
    sure = [found for found in evaluated if found.verdict is Verdict.FITS]
    chosen = next(found for found in sure if found.hardware == choose(asked).plan.hardware)
    fastest = max(found.samples_per_second for found in sure)
    assert chosen.samples_per_second >= 0.98 * fastest
    assert (chosen.hardware.sharding.zero_stage, chosen.hardware.base.quantization) == (0, None)


def test_the_effective_batch_is_kept_whatever_is_chosen() -> None:
    """12 on one, two or three cards stays 12."""
    for cards in (1, 2, 3):
        plan = choose(request("qwen2.5-0.5b", *[HOPPER] * cards, effective_batch_size=12)).plan
        assert plan.hardware.effective_batch_size == 12


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


def test_what_lost_says_why() -> None:
    """Every alternative has a speed and a reason; those that fit come first."""
    choice = choose(request("qwen2.5-7b", TURING, TURING))
    assert choice.alternatives
    order = [Verdict.FITS, Verdict.TIGHT, Verdict.DOES_NOT_FIT]
    ranks = [order.index(row.evaluated.verdict) for row in choice.alternatives]
    assert ranks == sorted(ranks)
    assert all(row.explanation and row.relative_speed > 0 for row in choice.alternatives)
    assert choice.considered > len(choice.alternatives)


def test_a_choice_carries_the_front_with_the_chosen_plan_on_it() -> None:
    """Fastest first; each says why it was not chosen."""
    choice = choose(request("qwen2.5-7b", HOPPER))
    rows = [row for row in choice.front if row.explanation.reason is Reason.CHOSEN]
    assert len(rows) <= 1
    assert len(choice.front) > 3
    speeds = [row.relative_speed for row in choice.front]
    assert speeds == sorted(speeds, reverse=True)
    assert all(explanation_sentence(row.explanation) for row in choice.front)


def test_rules_that_only_prune_the_space_are_not_told() -> None:
    """Nobody asked for ZeRO on one GPU; a package that is missing is worth a word."""
    _, refusals = evaluate_all(request("qwen2.5-0.5b", HOPPER, packages=("deepspeed",)))
    rules = {found.rule for found in refusals}
    assert RuleName.BITSANDBYTES in rules
    assert not rules & {RuleName.USELESS_SHARDING, RuleName.USELESS_OFFLOAD}


def test_one_refusal_is_told_per_rule_and_finding() -> None:
    """Hundreds of candidates want bf16 or FlashAttention; the reasons are a handful."""
    _, refusals = evaluate_all(request("qwen2.5-0.5b", HOPPER, TURING, packages=()))
    words = [(found.rule, refusal_sentence(found)) for found in refusals]
    assert len(set(words)) == len(words)
    assert "bitsandbytes" in {found.rule for found in refusals}


def test_sharding_is_nothing_to_pin_on_a_cpu() -> None:
    """The flags are named, and what is used instead of a GPU."""
    with pytest.raises(TsplannerError, match="need a GPU, and the CPU is used"):
        choose(request("qwen2.5-0.5b", pins=Pins(world_size=2)))


def over(gbit: float, *, batch: int = 64) -> Choice:
    """A 14B on two machines of two 24 GiB cards each, over such a network."""
    card = replace(HOPPER, name="card", total_bytes=24 * GIB, free_bytes=23 * GIB)
    pins = Pins(streamed_layers=0)
    asked = request("qwen2.5-14b", card, card, effective_batch_size=batch, length=512, pins=pins)
    several = replace(asked.machine, nodes=2, node_link=stated_link(gbit))
    return choose(replace(asked, machine=several))


def test_the_network_between_machines_decides_whether_weights_are_shared_over_it() -> None:
    """FSDP2 gathers 28 GB a pass: over 400 Gbit/s it uses both machines, over 1 it does not."""
    fast, slow = over(400).plan, over(1).plan
    assert (fast.hardware.sharding.fsdp, fast.hardware.sharding.nodes) == (True, 2)
    assert slow.hardware.sharding.nodes == 1
    assert fast.time.step_seconds < slow.time.step_seconds
    kinds = {remark.kind for remark in over(400).remarks}
    assert RemarkKind.SEVERAL_MACHINES in kinds
    assert RemarkKind.FEWER_GPUS in {remark.kind for remark in over(1).remarks}


def test_an_adapter_that_is_whole_on_every_card_needs_no_fast_network() -> None:
    """DDP moves the adapters' gradients once a step: Ethernet does."""
    asked = request("qwen2.5-0.5b", HOPPER, effective_batch_size=64)
    four = replace(asked.machine, nodes=4, node_link=stated_link(10))
    plan = choose(replace(asked, machine=four)).plan
    assert describe(plan.hardware).endswith("DDP x4 on 4 machines")
    assert not any("between the machines" in line for line in plan.assumptions)
    assumed = choose(replace(asked, machine=machines_alike(asked.machine, 4))).plan
    assert (
        "400 Gbit/s between the machines, assumed (AWS p5.48xlarge: 3,200 Gbit/s for 8 GPUs; "
        "--node-link states it)"
    ) in assumed.assumptions
