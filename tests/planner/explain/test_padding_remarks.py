"""What a plan says of padding."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.device import Device
from memory_models.settings import Attention, changed
from tests.support.rig import TURING
from tests.support.toy_request import HOPPER, request
from tsplanner.planner.explain.padding_remarks import padding_share
from tsplanner.planner.explain.reasons import Remark, RemarkKind
from tsplanner.planner.explain.sentences import LANGUAGES, remark_sentence
from tsplanner.planner.rank import Choice, choose
from tsplanner.planner.request import Pins, PlanRequest


def uneven(model: str = "qwen2.5-7b", card: Device = HOPPER, **pins: object) -> PlanRequest:
    """Three rows of 100 positions to one of 2,000, about."""
    found = request(model, card, length=2000, pins=Pins(**pins))
    quantiles = (100, 100, 100, 100, 2000)
    return replace(found, dataset=changed(found.dataset, mean=337.5, quantiles=quantiles))


def of_layout(choice: Choice) -> list[Remark]:
    """The remarks about packing and padding."""
    kinds = (RemarkKind.PACKED, RemarkKind.PADDED)
    return [remark for remark in choice.remarks if remark.kind in kinds]


def test_a_packed_plan_says_what_padding_would_cost() -> None:
    """In both languages, beside the padded plan that it names."""
    choice = choose(uneven())
    (remark,) = of_layout(choice)
    assert choice.plan.hardware.batch.is_packed
    assert remark.hardware is not None
    assert remark.hardware in [row.evaluated.hardware for row in choice.shown]
    share = 100 * padding_share(choice.plan.dataset, remark.hardware)
    assert share > 20
    for language in LANGUAGES:
        assert f"{share:.0f} %" in remark_sentence(remark, language)
    assert "micro-batch" in remark_sentence(remark)


def test_a_padded_plan_says_which_rule_keeps_it_padded() -> None:
    """Eager attention does not know where rows end."""
    choice = choose(uneven("gemma-2-2b", attention=Attention.EAGER))
    assert not choice.plan.hardware.batch.is_packed
    (remark,) = of_layout(choice)
    assert "eager" in remark_sentence(remark)


def test_a_gpu_without_the_kernel_is_said_to_be_the_reason() -> None:
    """A card of compute capability 7.5 has no flash attention."""
    (remark,) = of_layout(choose(uneven("qwen2.5-0.5b", TURING)))
    assert "7.5" in remark_sentence(remark)


@pytest.mark.parametrize("pins", [{"token_budget": None}, {"micro_batch_size": 4}])
def test_who_asks_for_padding_is_not_told_of_it(pins: dict[str, object]) -> None:
    """The plan is padded, as asked."""
    choice = choose(uneven(**pins))
    assert not choice.plan.hardware.batch.is_packed
    assert of_layout(choice) == []


def test_rows_of_one_length_stay_padded() -> None:
    """And nothing is said of it."""
    choice = choose(request("qwen2.5-0.5b", HOPPER))
    assert not choice.plan.hardware.batch.is_packed
    assert of_layout(choice) == []
