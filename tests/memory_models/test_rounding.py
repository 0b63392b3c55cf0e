"""What one tensor counts as: the allocator's block that holds it."""

from __future__ import annotations

import pytest

from memory_models.rounding import block_bytes

MIB = 1024**2


@pytest.mark.parametrize(
    ("request_bytes", "counted"),
    [
        (0, 0),
        (1, 512),
        (512, 512),
        (513, 1024),
        (MIB, MIB),
        # of a segment of 20 MiB the last block gets the rest, if it is at most 1 MiB
        (5 * MIB, 5 * MIB),
        (9 * MIB + MIB // 2, 10 * MIB),
        (7 * MIB, 7 * MIB),
        # from 10 MiB on, a segment of its own in steps of 2 MiB; over 1 MiB of rest is split off
        (10 * MIB, 10 * MIB),
        (11 * MIB, 12 * MIB),
        (12 * MIB + MIB // 2, 12 * MIB + MIB // 2),
        (12 * MIB + MIB // 2 + 1, 12 * MIB + MIB // 2 + 512),
    ],
)
def test_a_tensor_counts_as_the_block_that_holds_it(request_bytes: int, counted: int) -> None:
    """Blocks of 512 bytes; what is not split off a large one counts too."""
    assert block_bytes(request_bytes) == counted
