"""Choosing: the fastest plan that fits, and why the others lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import (
    Attention,
    Dtype,
)
from tests.support.rig import TURING
from tests.support.toy_request import (
    EVERY_PACKAGE,
    GIB,
    HOPPER,
    request,
    with_free,
)
from tsplanner.hardware.nodes import machines_alike, stated_link
from tsplanner.planner.compare import SPEED_TIE
from tsplanner.planner.explain.reasons import Reason, RemarkKind
from tsplanner.planner.explain.sentences import describe, explanation_sentence
from tsplanner.planner.plan import Verdict
from tsplanner.planner.rank import Choice, NothingFits, choose
from tsplanner.planner.request import Pins
from tsplanner.planner.space.waves import evaluate_all


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


def test_a_row_that_a_replay_found_too_large_is_not_called_as_fast() -> None:
    """A faster plan whose quick bound fits may be tight when its step is replayed."""
    choice = choose(request("qwen2.5-0.5b", with_free(TURING, 8), length=2048))
    faster = [row for row in choice.front if row.relative_speed > 1 + SPEED_TIE]
    assert faster
    assert {row.explanation.reason for row in faster} <= {Reason.TIGHT, Reason.OVER}


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
