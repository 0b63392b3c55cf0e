"""What a plan says of attention that no usual kernel runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.device import Device
from memory_models.settings import Attention, changed
from tests.support.rig import TURING
from tests.support.toy_request import HOPPER, request
from tsplanner.planner.explain.reasons import Remark, RemarkKind
from tsplanner.planner.explain.sentences import LANGUAGES, remark_sentence
from tsplanner.planner.rank import Choice, choose
from tsplanner.planner.request import Pins


def plan(model: str, card: Device = HOPPER, **pins: object) -> Choice:
    """Rows of 4,096 positions, one at a time."""
    return choose(request(model, card, length=4096, pins=Pins(micro_batch_size=1, **pins)))


def said(choice: Choice) -> list[Remark]:
    """The remarks about scores."""
    return [remark for remark in choice.remarks if remark.kind is RemarkKind.WRITES_SCORES]


def test_a_plan_with_eager_attention_names_the_one_that_writes_no_scores() -> None:
    """Gemma 2 9B: 16 heads of 4,096 x 4,096 scores in half precision are 0.5 GiB."""
    choice = plan("gemma-2-9b")
    (remark,) = said(choice)
    assert choice.plan.hardware.kernels.attention is Attention.EAGER
    assert "0.5 GiB a tensor" in remark_sentence(remark)
    assert "--attention flex_attention" in remark_sentence(remark)
    assert "0.5 GiB" in remark_sentence(remark, LANGUAGES[1])


@pytest.mark.parametrize(
    ("model", "card", "pins"),
    [
        ("qwen2.5-7b", HOPPER, {}),
        ("gemma-2-9b", HOPPER, {"attention": Attention.EAGER}),
        ("gemma-2-9b", HOPPER, {"attention": Attention.FLEX_ATTENTION}),
        ("gemma-2-2b", TURING, {}),
    ],
    ids=["sdpa runs it", "eager was asked for", "flex runs it", "the card is too old"],
)
def test_nothing_is_said_where_nothing_is_to_gain(
    model: str, card: Device, pins: dict[str, object]
) -> None:
    """Nobody is told of what they have, or what their card has not."""
    assert said(plan(model, card, **pins)) == []


def test_short_rows_write_few_scores() -> None:
    """Of 256 positions 2 MiB in a micro-batch of one."""
    asked = request("gemma-2-9b", HOPPER, length=256, pins=Pins(micro_batch_size=1))
    assert said(choose(asked)) == []


def test_a_plan_with_flex_attention_needs_less_and_packs_rows() -> None:
    """A step of eager attention keeps several tensors of scores of every layer in work."""
    eager, flex = (
        plan("gemma-2-9b", attention=each, gradient_checkpointing=True).plan
        for each in (Attention.EAGER, Attention.FLEX_ATTENTION)
    )
    gib = 2**30
    gained = eager.memory.peak_allocated_bytes.expected - flex.memory.peak_allocated_bytes.expected
    assert gained > 3 * gib
    assert flex.time.step_seconds < eager.time.step_seconds
    uneven = request(
        "gemma-2-9b", HOPPER, length=2000, pins=Pins(attention=Attention.FLEX_ATTENTION)
    )
    rows = changed(uneven.dataset, mean=337.5, quantiles=(100, 100, 100, 100, 2000))
    assert choose(replace(uneven, dataset=rows)).plan.hardware.batch.is_packed
