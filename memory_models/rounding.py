"""How PyTorch's CUDA caching allocator rounds one request.

Source: c10/cuda/CUDACachingAllocator.cpp (round_size, get_allocation_size, should_split).
"""

from __future__ import annotations

from memory_models.units import MIB

BLOCK_BYTES = 512
"""Every block is a multiple of this size (kMinBlockSize)."""
SMALL_REQUEST = MIB
"""Requests up to this size come from the small pool."""
SMALL_SEGMENT = 2 * MIB
"""Segment of the small pool."""
LARGE_REQUEST = 10 * MIB
"""Requests from this size on get a segment of their own."""
LARGE_SEGMENT = 20 * MIB
"""Segment that requests between 1 and 10 MiB share."""
LARGE_STEP = 2 * MIB
"""A segment of one request is rounded up to a multiple of this size."""
LARGE_REMAINDER = MIB
"""The allocator splits a remainder off a large block only if it is above this size."""


def block_bytes(request: int) -> int:
    """Bytes that count as allocated for one of many equal requests.

    The allocator rounds the segment of a large request up to 2 MiB. In a shared segment the last
    block keeps the rest, which is spread here over the blocks of the segment. A rest above 1 MiB is
    split off, so it does not count.
    Ignores: later requests that reuse a larger cached block.
    """
    if request <= SMALL_REQUEST:
        return request + -request % BLOCK_BYTES
    if request >= LARGE_REQUEST:
        rest = -request % LARGE_STEP
        return request + (rest if rest <= LARGE_REMAINDER else -request % BLOCK_BYTES)
    blocks = LARGE_SEGMENT // request
    rest = LARGE_SEGMENT - blocks * request
    return request + (rest // blocks if rest <= LARGE_REMAINDER else -request % BLOCK_BYTES)
