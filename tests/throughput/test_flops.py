"""Matrix operations of a micro-batch."""

from __future__ import annotations

import pytest

from memory_models.settings import FinetuningType, TrainingSettings, changed, from_flat
from tsplanner.models.source import read_model
from tsplanner.throughput.flops import micro_batch_flops

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
