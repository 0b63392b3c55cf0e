"""What a person should know of a plan before starting it: each remark when it is due, and not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.device import Device
from memory_models.settings import (
    Attention,
    Dtype,
    FinetuningType,
    Optimizer,
    Quantization,
    changed,
)
from tests.support.rig import TURING
from tests.support.toy_request import GIB, HOPPER, ROOMY_HOST, request, with_free
from tsplanner.hardware.nodes import stated_link
from tsplanner.planner.explain.reasons import MemoryKind, Reason, RemarkKind, RoundedPart, RuleName
from tsplanner.planner.explain.sentences import remark_sentence
from tsplanner.planner.rank import Choice, NothingFits, choose
from tsplanner.planner.request import Pins, PlanRequest

FULL = FinetuningType.FULL
SMALL = replace(HOPPER, name="small", free_bytes=11 * GIB)
SLOW = replace(HOPPER, name="slow", matrix_flops_per_second=9e12)


def assumed(asked: PlanRequest, ram_gib: float) -> PlanRequest:
    """The request on a host whose RAM nobody stated."""
    size = int(ram_gib * GIB)
    host = replace(
        asked.machine.host, total_bytes=size, available_bytes=size - 2 * GIB, assumed=True
    )
    return replace(asked, machine=replace(asked.machine, host=host))


def kinds(choice: Choice) -> list[RemarkKind]:
    """The kinds of the remarks on a choice, in their order."""
    return [remark.kind for remark in choice.remarks]


def words(choice: Choice, kind: RemarkKind) -> str:
    """The sentence of the only remark of a kind."""
    (found,) = [remark for remark in choice.remarks if remark.kind is kind]
    return remark_sentence(found)


def test_a_plan_as_asked_needs_no_remark() -> None:
    """It fits whole, on all GPUs, in bf16; an assumed host that decides nothing is no matter."""
    assert choose(request("qwen2.5-7b", HOPPER)).remarks == ()
    assert choose(assumed(request("qwen2.5-7b", HOPPER), 64)).remarks == ()


def test_an_assumed_host_is_the_first_remark_where_weights_lie_on_it() -> None:
    """14B in fp16 does not fit 21 GiB, so it is offloaded to RAM that nobody stated."""
    found = choose(assumed(request("qwen2.5-14b", TURING), 512))
    assert found.plan.hardware.streaming.streams
    assert kinds(found)[0] is RemarkKind.HOST_ASSUMED
    assert words(found, RemarkKind.HOST_ASSUMED).startswith("512 GiB of host RAM are assumed")
    stated = choose(request("qwen2.5-14b", TURING))
    assert RemarkKind.HOST_ASSUMED not in kinds(stated)


def test_an_assumed_host_is_a_remark_where_a_larger_one_would_change_the_plan() -> None:
    """With 24 GiB of RAM nothing can be offloaded, and 4 bits are what is left."""
    pins = Pins(streamed_layers=0)
    found = choose(assumed(request("qwen2.5-14b", TURING, pins=pins), 24))
    assert found.plan.hardware.base.quantization is Quantization.NF4_DQ
    assert kinds(found)[0] is RemarkKind.HOST_ASSUMED
    assert "such as --host-memory 64GiB" in words(found, RemarkKind.HOST_ASSUMED)


def test_where_nothing_fits_an_assumed_host_is_told_if_it_is_the_obstacle() -> None:
    """Cards that are too small have nothing to do with the host."""
    pins = Pins(quantization=None, streamed_layers=0)
    with pytest.raises(NothingFits) as caught:
        choose(assumed(request("qwen2.5-14b", TURING, pins=pins), 24))
    (remark,) = caught.value.failure.remarks
    assert remark.kind is RemarkKind.HOST_ASSUMED
    with pytest.raises(NothingFits) as caught:
        choose(assumed(request("qwen2.5-0.5b", with_free(HOPPER, 0.5)), 64))
    assert caught.value.failure.remarks == ()


def test_a_base_that_is_rounded_to_fit_says_what_does_not_fit() -> None:
    """Without DeepSpeed nothing is offloaded, and here nothing is streamed: the whole base would
    have to fit the card.
    """
    pins = Pins(streamed_layers=0)
    found = choose(request("qwen2.5-14b", TURING, packages=("bitsandbytes",), pins=pins))
    (remark,) = found.remarks
    assert remark.kind is RemarkKind.ROUNDED_TO_FIT
    assert remark.data["rounded"] is RoundedPart.BASE_4_BIT
    assert remark.data["memory"] is MemoryKind.GPU
    assert remark.data["free"] == 21.0
    assert float(remark.data["needs"]) > 28
    assert remark_sentence(remark).startswith(
        "rounds the base to 4 bits: without that, fp16 · one GPU is over the GPU's free memory"
    )


def test_what_a_rounded_plan_would_gain_is_told_with_its_risk() -> None:
    """Only where it is a tenth faster, and not where rounding is allowed already."""
    asked = request("qwen2.5-14b", TURING, pins=Pins(streamed_layers=0))
    found = choose(asked)
    assert "x as fast with --allow-rounding (nf4-dq · one GPU): rounds the base to 4 bits" in words(
        found, RemarkKind.FASTER_ROUNDED
    )
    (remark,) = [each for each in found.remarks if each.kind is RemarkKind.FASTER_ROUNDED]
    (row,) = [each for each in found.shown if each.evaluated.hardware == remark.hardware]
    # A reader finds what the note speaks of in the list, at the same gain.
    assert row.relative_speed == pytest.approx(float(remark.data["gain"]))
    taken = choose(replace(asked, allow_rounding=True))
    assert RemarkKind.FASTER_ROUNDED not in kinds(taken)
    said = words(taken, RemarkKind.ROUNDED_FOR_SPEED)
    assert said.startswith("rounds the base and its products to 8 bits; --quantization none costs ")
    assert "(fp16 · ZeRO-3 x1 + param offload)" in said


def test_an_optimizer_in_8_bits_says_what_whole_states_would_cost() -> None:
    """32B on eight cards of 79 GiB: whole states fit with offload alone."""
    cards = [with_free(HOPPER, 79)] * 8
    asked = request("qwen2.5-32b", *cards, length=2048, finetuning_type=FULL)
    said = words(choose(replace(asked, allow_rounding=True)), RemarkKind.ROUNDED_FOR_SPEED)
    assert said.startswith("8-bit Adam rounds the states; --optimizer adamw_torch costs 1.")


def test_what_was_pinned_is_named_as_asked() -> None:
    """It rounds all the same."""
    found = choose(request("qwen2.5-7b", HOPPER, pins=Pins(quantization=Quantization.INT8)))
    assert words(found, RemarkKind.ROUNDED_AS_ASKED) == "rounds the base to 8 bits, as asked"
    pins = Pins(optimizer=Optimizer.ADAMW_BNB_8BIT)
    found = choose(request("qwen2.5-0.5b", HOPPER, pins=pins))
    assert words(found, RemarkKind.ROUNDED_AS_ASKED) == "8-bit Adam rounds the states, as asked"


@pytest.mark.parametrize(
    ("cards", "reason"),
    [((HOPPER, SLOW), Reason.SLOWER), ((HOPPER, SMALL), Reason.SLOWER)],
    ids=["a slower card", "a smaller card"],
)
def test_gpus_that_idle_are_told_with_the_reason(cards: tuple[Device, ...], reason: Reason) -> None:
    """The best plan on both is named, and what speaks against it.

    With layers on the way from the host the smaller card would take part.
    """
    found = choose(request("qwen2.5-7b", *cards, pins=Pins(streamed_layers=0)))
    (remark,) = found.remarks
    assert remark.kind is RemarkKind.FEWER_GPUS
    assert (remark.data["used"], remark.data["have"]) == (1, 2)
    assert remark.hardware is not None
    assert remark.hardware.sharding.world_size == 2
    assert getattr(remark.why, "reason", None) is reason


def test_gpus_that_cannot_share_the_batch_or_were_not_asked_for_are_told_so() -> None:
    """One row of a step cannot be divided; a pin needs no reason."""
    found = choose(request("qwen2.5-0.5b", HOPPER, HOPPER, effective_batch_size=1))
    assert words(found, RemarkKind.FEWER_GPUS_BY_BATCH) == (
        "uses 1 of 2 GPUs: more cannot share the effective batch 1 equally"
    )
    found = choose(request("qwen2.5-7b", HOPPER, HOPPER, pins=Pins(world_size=1)))
    assert kinds(found) == [RemarkKind.FEWER_GPUS_AS_ASKED]


def test_of_several_mig_slices_one_is_used_and_the_rule_is_told() -> None:
    """A process sees one slice, and NCCL joins none."""
    slices = [replace(HOPPER, name="H200 MIG 3g.71gb", mig=True)] * 2
    found = choose(request("qwen2.5-7b", *slices))
    assert found.plan.hardware.sharding.world_size == 1
    (remark,) = found.remarks
    assert getattr(remark.why, "rule", None) is RuleName.MIG_SLICES


@pytest.mark.parametrize(
    ("model", "card", "kind"),
    [
        ("gemma-3-4b", TURING, RemarkKind.FP16_OVERFLOWS),
        ("gemma-2-2b", TURING, RemarkKind.FP16_OVERFLOWS),
        ("gemma-3-4b", HOPPER, None),
        ("qwen2.5-0.5b", TURING, None),
    ],
)
def test_a_family_that_overflows_in_fp16_is_told_with_the_source(
    model: str, card: Device, kind: RemarkKind | None
) -> None:
    """Turing has no bf16; Hopper has."""
    found = choose(request(model, card))
    assert kinds(found) == ([] if kind is None else [kind])
    if kind is not None:
        assert "huggingface/transformers issue 39972" in words(found, kind)


def test_fp16_that_was_pinned_is_warned_of_as_well() -> None:
    """The card has bf16, and the user asked for fp16."""
    pins = Pins(model_dtype=Dtype.FP16)
    found = choose(request("qwen3-30b-a3b", HOPPER, pins=pins))
    assert "unslothai/unsloth-zoo pull request 866" in words(found, RemarkKind.FP16_GRADIENTS)


def test_flash_attention_is_taken_to_be_on_a_machine_that_is_elsewhere() -> None:
    """Its packages are not known here, and whoever asks for it has it."""
    pins = Pins(attention=Attention.FLASH_ATTENTION_2)
    elsewhere = request("qwen2.5-0.5b", HOPPER, packages=(), pins=pins)
    assert RemarkKind.FLASH_ASSUMED in kinds(choose(elsewhere))
    machine = replace(elsewhere.machine, detected=True, packages=("flash_attn",))
    assert RemarkKind.FLASH_ASSUMED not in kinds(choose(replace(elsewhere, machine=machine)))


def test_pure_bf16_is_warned_of_where_the_base_is_trained() -> None:
    """An adapter is fp32 and DeepSpeed keeps masters: neither loses small updates."""
    full = request("qwen2.5-0.5b", HOPPER, finetuning_type=FULL)
    assert RemarkKind.PURE_BF16 in kinds(choose(full))
    assert RemarkKind.PURE_BF16 not in kinds(choose(request("qwen2.5-0.5b", HOPPER)))
    whole = replace(full, pins=Pins(model_dtype=Dtype.FP32))
    assert RemarkKind.PURE_BF16 not in kinds(choose(whole))
    sharded = request("qwen2.5-0.5b", HOPPER, HOPPER, finetuning_type=FULL, pins=Pins(zero_stage=2))
    assert RemarkKind.PURE_BF16 not in kinds(choose(sharded))


def test_rows_beyond_the_published_length_are_planned_with_a_word() -> None:
    """Qwen2.5-0.5B was published for 32,768 positions; YaRN's factor counts."""
    asked = request("qwen2.5-0.5b", HOPPER, length=40_000, host=ROOMY_HOST)
    assert words(choose(asked), RemarkKind.LONG_POSITIONS).startswith(
        "rows of 40,000 positions are longer than the 32,768"
    )
    extended = changed(asked.architecture, extended_positions=131_072)
    assert RemarkKind.LONG_POSITIONS not in kinds(choose(replace(asked, architecture=extended)))


def test_of_two_memories_that_are_short_the_scarcer_one_is_named() -> None:
    """32B whole is 2.9 times the card; offloaded it would be over three times the host."""
    pins = Pins(streamed_layers=0)
    found = choose(assumed(request("qwen2.5-32b", with_free(HOPPER, 23.6), pins=pins), 24))
    said = words(found, RemarkKind.ROUNDED_TO_FIT)
    assert said.startswith(
        "rounds the base to 4 bits: without that, bf16 · one GPU is over the GPU's free memory"
    )
    assert said.endswith("23.6 are free)")


def test_a_rate_far_above_the_usual_one_gets_a_word() -> None:
    """1 instead of 1e-3 for half a billion parameters; ten times the usual one is a choice."""
    found = choose(request("qwen2.5-0.5b", HOPPER, learning_rate=1.0))
    assert "a learning rate of 1 is 1000 times the usual 0.001" in words(
        found, RemarkKind.HIGH_RATE
    )
    assert RemarkKind.HIGH_RATE not in kinds(
        choose(request("qwen2.5-0.5b", HOPPER, learning_rate=1e-2))
    )


def test_rows_that_do_not_fill_one_step_get_a_word() -> None:
    """One row is no dataset; three hundred are."""
    asked = request("qwen2.5-0.5b", HOPPER)
    one = changed(asked.dataset, rows_total=1, rows_kept=1)
    found = choose(replace(asked, dataset=one))
    assert words(found, RemarkKind.FEW_ROWS).startswith("1 row in all: less than one step of 16")
    assert RemarkKind.FEW_ROWS not in kinds(choose(asked))


@pytest.mark.parametrize("pins", [Pins(zero_stage=3), Pins(fsdp=True)])
def test_traffic_between_machines_is_told_as_a_share_of_the_step(pins: Pins) -> None:
    """Weights that cross a slow network take most of it, whoever gathers them."""
    asked = request("qwen2.5-7b", HOPPER, pins=pins.with_(world_size=2))
    several = replace(asked.machine, nodes=2, node_link=stated_link(1))
    found = choose(replace(asked, machine=several))
    (remark,) = [each for each in found.remarks if each.kind is RemarkKind.SEVERAL_MACHINES]
    assert remark.data["nodes"] == 2
    assert 0.5 < float(remark.data["share"]) < 1
    assert remark_sentence(remark).startswith("2 machines over 1 Gbit/s: ")
