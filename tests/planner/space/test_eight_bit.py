"""A base in 8 bits: the form that a card multiplies, and the plan's twin in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import FinetuningType, Quantization, changed, from_flat
from tests.support.rig import TURING
from tests.support.toy_request import HOPPER, request
from tsplanner.planner.request import Pins
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.candidates import candidates
from tsplanner.planner.space.eight_bit import eight_bit_form, eight_bit_twin, rounds_products

ALONE = from_flat(HardwareSettings, accelerator="cuda", devices=(0,))


@pytest.mark.parametrize(
    ("capability", "bf16", "form"),
    [
        ((9, 0), True, Quantization.FP8),
        ((8, 9), True, Quantization.FP8),
        ((8, 9), False, Quantization.W8A8),
        ((8, 0), True, Quantization.W8A8),
        ((7, 5), False, Quantization.W8A8),
        ((7, 0), False, None),
    ],
)
def test_ada_and_hopper_multiply_fp8_and_turing_int8(
    capability: tuple[int, int], bf16: bool, form: Quantization | None
) -> None:
    """Volta's tensor cores have neither."""
    assert eight_bit_form(capability, bf16=bf16) is form


def test_a_plan_has_a_twin_that_differs_in_the_base_alone() -> None:
    """On a Hopper in fp8."""
    twin = eight_bit_twin(request("qwen2.5-7b", HOPPER), ALONE)
    assert twin is not None
    assert twin == replace(ALONE, base=replace(ALONE.base, quantization=Quantization.FP8))


def test_there_is_no_twin_of_what_8_bits_do_not_go_with() -> None:
    """A pinned or quantised base, ZeRO, a CPU, and weights that are trained."""
    asked = request("qwen2.5-7b", HOPPER)
    assert eight_bit_twin(replace(asked, pins=Pins(quantization=None)), ALONE) is None
    for changes in (
        {"quantization": Quantization.NF4},
        {"zero_stage": 2},
        {"accelerator": "cpu"},
    ):
        assert eight_bit_twin(asked, changed(ALONE, **changes)) is None  # type: ignore[arg-type]
    full = request("qwen2.5-7b", HOPPER, finetuning_type=FinetuningType.FULL)
    assert not rounds_products(full)
    assert eight_bit_twin(full, ALONE) is None


def test_the_space_holds_8_bit_products_where_rounding_is_allowed() -> None:
    """Never with ZeRO, and elsewhere only where the base is pinned so."""
    asked = request("qwen2.5-7b", TURING, TURING)
    assert not any(found.base.multiplies_8bit for found in candidates(asked))
    allowed = [
        found
        for found in candidates(replace(asked, allow_rounding=True))
        if found.base.multiplies_8bit
    ]
    assert {found.base.quantization for found in allowed} == {Quantization.W8A8}
    assert {found.sharding.zero_stage for found in allowed} == {0}
    pinned = replace(asked, pins=Pins(quantization=Quantization.FP8))
    assert all(found.base.quantization is Quantization.FP8 for found in candidates(pinned))
