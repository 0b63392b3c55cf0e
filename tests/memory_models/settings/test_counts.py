"""What settings count has bounds."""

from __future__ import annotations

import pytest

from memory_models.settings import BatchLayout


def test_no_setting_counts_more_than_a_run_can() -> None:
    """A micro-batch of 2**40 rows is a slip, and every divisor of it would be tried."""
    assert BatchLayout(micro_batch_size=2**24).micro_batch_size == 2**24
    with pytest.raises(ValueError, match="micro_batch_size must be at most 16777216"):
        BatchLayout(micro_batch_size=2**24 + 1)
