"""What each part of the settings may be, and which attention a plan takes of it."""

from __future__ import annotations

from dataclasses import replace

from memory_models.device import Device
from memory_models.settings import Attention, changed
from tests.support.rig import TURING
from tests.support.toy_request import HOPPER, request
from tsplanner.planner.rank import choose
from tsplanner.planner.request import Pins
from tsplanner.planner.space.choices import kernel_choices


def attentions(
    model: str, card: Device = HOPPER, rows: int = 20_000
) -> tuple[set[Attention], Attention]:
    """Those that are tried, and the plan's, for rows of 4,096 positions."""
    asked = request(model, card, length=4096)
    asked = replace(asked, dataset=changed(asked.dataset, rows_total=rows, rows_kept=rows))
    chosen = choose(asked).plan.hardware.kernels.attention
    return {each.attention for each in kernel_choices(asked)}, chosen


def test_models_that_scaled_dot_product_attention_does_not_know_may_run_flex_attention() -> None:
    """Gemma 2 caps its scores; Qwen's are plain."""
    both = {Attention.EAGER, Attention.FLEX_ATTENTION}
    assert attentions("gemma-2-9b") == (both, Attention.FLEX_ATTENTION)
    assert attentions("qwen2.5-0.5b") == ({Attention.SDPA}, Attention.SDPA)


def test_flex_attention_is_not_taken_where_it_does_not_pay_or_run() -> None:
    """Ten rows are over before it is compiled, and a card of capability 7.5 has none of it."""
    assert attentions("gemma-2-2b", rows=10)[1] is Attention.EAGER
    assert attentions("gemma-2-2b", rows=20_000)[1] is Attention.FLEX_ATTENTION
    assert attentions("gemma-2-2b", TURING)[1] is Attention.EAGER


def test_a_plan_with_flex_attention_needs_less_and_packs_rows() -> None:
    """A step of eager attention keeps several tensors of scores of every layer in work."""
    pins = {"micro_batch_size": 1, "gradient_checkpointing": True}
    eager, flex = (
        choose(request("gemma-2-9b", HOPPER, length=4096, pins=Pins(attention=each, **pins))).plan
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


def test_eager_attention_stays_where_a_person_asks_for_it() -> None:
    """And flex_attention is taken by word where nothing asks for it, as for Qwen."""
    for model in ("gemma-2-9b", "qwen2.5-7b"):
        for wanted in (Attention.EAGER, Attention.FLEX_ATTENTION):
            asked = request(model, HOPPER, length=4096, pins=Pins(attention=wanted))
            assert choose(asked).plan.hardware.kernels.attention is wanted
