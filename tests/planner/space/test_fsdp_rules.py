"""A base is shared out where its slices can be trained on, and refused in words elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.device import NodeLink
from memory_models.settings import (
    Dtype,
    FinetuningType,
    Optimizer,
    Quantization,
    changed,
    from_flat,
)
from memory_models.units import GIB
from tests.support.toy_request import HOPPER, machine, request
from tsplanner.planner.explain.sentences import describe, refusal_sentence
from tsplanner.planner.plan import Verdict
from tsplanner.planner.rank import choose
from tsplanner.planner.request import Pins, PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.candidates import candidates, conflict
from tsplanner.planner.space.rules import refusal
from tsplanner.planner.space.waves import evaluate_all

SHARED = from_flat(HardwareSettings, world_size=2, fsdp=True)
TWO = (HOPPER, HOPPER)
FULL: dict[str, object] = {"finetuning_type": FinetuningType.FULL}


@pytest.mark.parametrize(
    ("hardware", "learning", "says"),
    [
        ({"world_size": 1}, {}, "--world-size 1"),
        ({"quantization": Quantization.INT8}, {}, "--quantization int8"),
        ({"streamed_layers": 3}, {}, "--streamed-layers 3"),
        ({}, {"finetuning_type": FinetuningType.FREEZE}, "--finetuning-type freeze"),
        ({"optimizer": Optimizer.ADAMW_BNB_8BIT}, FULL, "--optimizer adamw_bnb_8bit, where the"),
        ({"autocast": Dtype.FP16, "model_dtype": Dtype.FP32}, FULL, "fp16, where the base"),
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


@pytest.mark.parametrize(
    ("model", "says"),
    [("chatts-8b", "series or images"), ("qwen2.5-vl-7b", "series or images")],
)
def test_what_some_processes_alone_use_is_not_trained_in_slices(model: str, says: str) -> None:
    """An encoder works for rows with series alone, and the others would wait for its gradients."""
    found = refusal(request(model, *TWO, **FULL), SHARED)
    assert found is not None
    assert says in refusal_sentence(found)


def test_full_fine_tuning_takes_slices_where_it_is_asked_to() -> None:
    """A 7B's weights, gradients and moments, 61 GB, fit two cards with 70 GiB free in halves."""
    card = replace(HOPPER, free_bytes=70 * GIB)
    asked = request("qwen2.5-7b", card, card, pins=Pins(fsdp=True), **FULL)
    found = choose(asked).plan
    assert found.verdict is not Verdict.DOES_NOT_FIT
    assert "FSDP2 x2" in describe(found.hardware)


def test_only_a_pin_shares_the_base_out() -> None:
    """Without it two cards train by DDP; with it by FSDP2 on both."""
    asked = request("qwen2.5-0.5b", *TWO)
    assert "FSDP2" not in describe(choose(asked).plan.hardware)
    pinned = replace(asked, pins=Pins(fsdp=True))
    assert "FSDP2 x2" in describe(choose(pinned).plan.hardware)


def on_two_machines(model: str, gbit: float, free_gib: float = 139, **pins: object) -> PlanRequest:
    """Two cards in each of two machines that such a network joins, with FSDP2 pinned."""
    card = replace(HOPPER, free_bytes=int(free_gib * GIB))
    joined = NodeLink(bytes_per_second=gbit * 1e9 / 8)
    several = replace(machine(card, card), nodes=2, node_link=joined)
    asked = request(model, card, card)
    chosen = Pins(fsdp=True, world_size=4, **pins)
    return replace(asked, machine=several, pins=chosen)


def test_a_slow_network_keeps_a_copy_on_each_machine() -> None:
    """Layers of 7B would cross 10 Gbit/s in every pass; adapters cross once per step."""
    found = choose(on_two_machines("qwen2.5-7b", 10))
    assert "FSDP2 x2 on each of 2 machines" in describe(found.plan.hardware)
    others = [each for each in found.evaluated if not each.hardware.sharding.fsdp_per_host]
    assert min(each.time.seconds for each in others) > 5 * found.best.time.seconds


def test_a_base_that_no_machine_holds_is_shared_out_over_all() -> None:
    """Of 14B, 29.5 GB, two cards with 14 GiB free hold no copy, and four do."""
    found = choose(on_two_machines("qwen2.5-14b", 10, 14))
    assert found.plan.verdict is not Verdict.DOES_NOT_FIT
    assert "FSDP2 x4 on 2 machines" in describe(found.plan.hardware)


def test_a_pin_decides_as_well() -> None:
    """Either way; a pin of the copies alone means FSDP2."""
    for per_host in (True, False):
        asked = on_two_machines("qwen2.5-0.5b", 10, fsdp_per_host=per_host)
        assert {each.sharding.fsdp_per_host for each in candidates(asked)} == {per_host}
    asked = on_two_machines("qwen2.5-0.5b", 10)
    alone = replace(asked, pins=Pins(fsdp_per_host=True))
    assert {each.sharding.fsdp for each in candidates(alone)} == {True}


def test_one_machine_has_one_copy() -> None:
    """There is nothing to choose, and neither where each machine has one card."""
    asked = request("qwen2.5-0.5b", *TWO, pins=Pins(fsdp_per_host=True))
    assert conflict(asked) == ("fsdp_per_host",)
    single = on_two_machines("qwen2.5-0.5b", 10)
    single = replace(
        single,
        machine=replace(single.machine, devices=(HOPPER,)),
        pins=Pins(fsdp=True, world_size=2),
    )
    assert not any(each.sharding.fsdp_per_host for each in candidates(single))


def test_slices_are_planned_under_adapters_on_several_gpus() -> None:
    """And where nobody asked nothing is said of what they do not go with."""
    pair = request("qwen2.5-14b", *[replace(HOPPER, total_bytes=24 * GIB, free_bytes=23 * GIB)] * 2)
    found, refusals = evaluate_all(pair)
    shared = [each.hardware for each in found if each.hardware.sharding.fsdp]
    assert shared
    assert all(each.sharding.world_size == 2 and not each.streaming.streams for each in shared)
    assert not any("fsdp" in refused.rule for refused in refusals)
    without, _ = evaluate_all(replace(pair, pins=Pins(fsdp=False)))
    assert not any(each.hardware.sharding.fsdp for each in without)


def test_slices_of_a_trained_base_have_to_be_asked_for() -> None:
    """No GPU has trained them."""
    asked = request("qwen2.5-0.5b", HOPPER, HOPPER, finetuning_type=FinetuningType.FULL)
    assert not any(each.hardware.sharding.fsdp for each in evaluate_all(asked)[0])
    assert choose(replace(asked, pins=Pins(fsdp=True))).plan.hardware.sharding.fsdp
