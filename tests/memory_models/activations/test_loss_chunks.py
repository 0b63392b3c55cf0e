"""Chunks of the fused loss."""

from __future__ import annotations

import pytest

from memory_models.activations.loss_chunks import fused_rows
from memory_models.settings import TrainingSettings
from tests.support.toy_decoder import TOY, WIDE


@pytest.mark.parametrize(("length", "rows"), [(1, 1), (4, 1), (5, 2), (12, 4), (64, 16)])
def test_a_chunks_logits_take_about_as_much_as_the_hidden_states(length: int, rows: int) -> None:
    """V / D is 4: a quarter of the tokens, rounded up to a power of two."""
    assert fused_rows(TOY, TrainingSettings(sequence_length=length)) == rows


@pytest.mark.parametrize("length", [1, 2, 3, 100, 4096])
def test_a_chunk_is_no_longer_than_the_batch(length: int) -> None:
    """At least a row, at most every row."""
    rows = fused_rows(WIDE, TrainingSettings(sequence_length=length))
    assert 1 <= rows <= length
