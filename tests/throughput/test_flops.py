"""Matrix operations of a micro-batch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import (
    Attention,
    FinetuningType,
    TrainingSettings,
    changed,
    from_flat,
)
from tsplanner.models.source import read_model
from tsplanner.throughput import flops
from tsplanner.throughput.flops import micro_batch_flops, operands

MODEL = read_model("qwen2.5-7b").architecture
PLAIN = from_flat(TrainingSettings, sequence_length=2048, gradient_checkpointing=False)


def test_frozen_weights_cost_four_operations_a_token_and_trained_ones_six() -> None:
    """No weight gradient of a frozen base; recomputation costs two more."""
    adapter = micro_batch_flops(MODEL, PLAIN)
    full = micro_batch_flops(MODEL, changed(PLAIN, finetuning_type=FinetuningType.FULL))
    again = micro_batch_flops(MODEL, changed(PLAIN, gradient_checkpointing=True))
    assert 1.35 < full / adapter < 1.5
    assert 1.2 < again / adapter < 1.5


def test_recomputation_is_that_of_the_checkpointed_layers() -> None:
    """7 of 28 layers cost a quarter of what all of them cost."""
    again = changed(PLAIN, gradient_checkpointing=True)
    none, every = micro_batch_flops(MODEL, PLAIN), micro_batch_flops(MODEL, again)
    layers = MODEL.num_hidden_layers
    some = micro_batch_flops(MODEL, changed(again, checkpointed_layers=layers // 4))
    assert some - none == pytest.approx((every - none) * (layers // 4) / layers)


def test_attention_counts_as_what_sdpa_does_in_the_same_time() -> None:
    """2 S HA of 28 heads of 128 at 2,048 tokens; eager multiplies the hidden half as well, and
    flex_attention took 1.54 times as long, with Gemma 2's soft cap 4.55 times.
    """
    pairs = 2 * 2048 * 28 * 128
    assert operands(MODEL, PLAIN).pairs == pairs
    assert operands(MODEL, changed(PLAIN, attention=Attention.EAGER)).pairs == 2 * pairs
    flex = changed(PLAIN, attention=Attention.FLEX_ATTENTION)
    assert operands(MODEL, flex).pairs == pytest.approx(1.54 * pairs)
    capped = read_model("gemma-2-9b").architecture
    assert operands(capped, flex).pairs == pytest.approx(4.55 * 2 * 2048 * 16 * 256)


def test_flex_attention_is_added_to_what_was_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording of 1e12 operations in forward, without checkpoints: twice that, the adapters once
    more, the head four times, and attention once forward and twice backward.
    """
    recorded = replace(MODEL, layer=replace(MODEL.layer, recorded="key"))
    monkeypatch.setattr(flops, "forward_flops_of", lambda *_: 1e12)
    sdpa, flex = (
        changed(PLAIN, attention=each) for each in (Attention.SDPA, Attention.FLEX_ATTENTION)
    )
    found = micro_batch_flops(recorded, flex) - micro_batch_flops(recorded, sdpa)
    assert found == pytest.approx(3 * 2048 * 28 * 1.54 * 2 * 2048 * 28 * 128)
    forward = flops.forward_flops(recorded, flex) - flops.forward_flops(recorded, sdpa)
    assert forward == pytest.approx(found / 3)
