"""Choosing: what rounds the base or the states, only where it has to or may."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.device import Device
from memory_models.settings import (
    FinetuningType,
    Optimizer,
    Quantization,
)
from tests.support.rig import TURING
from tests.support.toy_request import (
    HOPPER,
    by_host,
    request,
    with_free,
)
from tsplanner.planner.explain.sentences import explanation_sentence
from tsplanner.planner.plan import Verdict
from tsplanner.planner.rank import NothingFits, choose
from tsplanner.planner.request import Pins


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
