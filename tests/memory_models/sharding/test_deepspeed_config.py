"""Sizes in DeepSpeed's configuration."""

from __future__ import annotations

from memory_models.sharding.deepspeed_config import live_elements
from tests.support.toy_decoder import WIDE

BLOCK = 256 * 256 * 2 + 256 * 128 * 2 + 3 * 256 * 512
"""Elements of one block's matrices: 589,824; two norms of 256 more stay whole."""


def test_two_blocks_are_the_limit() -> None:
    """Norms included: 2 x 590,336 elements."""
    assert live_elements(WIDE) == 2 * (BLOCK + 512)
