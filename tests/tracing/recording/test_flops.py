"""Operations of a layer's forward, counted on tensors without values."""

from __future__ import annotations

import pytest

pytest.importorskip("peft")

from memory_models.recorded.recording import recipe_of
from memory_models.settings import Method, TrainingSettings
from tests.support.shrunk import config_of
from tsplanner.tracing.recording.stranger import Stranger
from tsplanner.tracing.records import Subject


def test_operations_are_two_per_weight_and_token_and_a_share_per_score() -> None:
    """A Llama layer: q, o [64, 64], k, v [64, 32], MLP 3 x [64, 96]; LoRA of rank 8 on all seven.

    Causal attention takes 2 of its 4 operations per score and element of four heads of 16.
    """
    stranger = Stranger(Subject(config={**config_of("llama"), "rope_theta": 1e4}))
    layer = stranger.record(recipe_of(TrainingSettings().layer, masked=False)).layers[-1]
    weights = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96
    sides = 2 * (64 + 64) + 2 * (64 + 32) + 3 * (64 + 96)
    assert layer.flops.per_token == 2 * weights + 2 * 8 * sides
    assert layer.flops.per_unit == 2 * 64
    assert Method().lora_rank == 8
