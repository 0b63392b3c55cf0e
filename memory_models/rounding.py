"""How PyTorch's CUDA caching allocator rounds the size of one request.

Source: c10/cuda/CUDACachingAllocator.cpp (round_size, get_allocation_size, should_split).
"""

from __future__ import annotations

from memory_models.units import MIB

BLOCK_BYTES = 512
SMALL_REQUEST = MIB
"""Requests up to this size come from the small pool."""
SMALL_SEGMENT = 2 * MIB
LARGE_REQUEST = 10 * MIB
"""Requests from this size on get a segment of their own."""
LARGE_SEGMENT = 20 * MIB
LARGE_STEP = 2 * MIB
LARGE_REMAINDER = MIB
"""A large block keeps a remainder up to this size."""


def block_bytes(request: int) -> int:
    """Bytes that count as allocated for one of many equal requests.

    A segment of its own is rounded up to 2 MiB. In a shared segment the last block gets the rest.
    A rest above 1 MiB is split off and so does not count.
    Ignores: which cached block serves a request later.
    """
    if request <= SMALL_REQUEST:
        return request + -request % BLOCK_BYTES
    if request >= LARGE_REQUEST:
        rest = -request % LARGE_STEP
        return request + (rest if rest <= LARGE_REMAINDER else -request % BLOCK_BYTES)
    blocks = LARGE_SEGMENT // request
    rest = LARGE_SEGMENT - blocks * request
    return request + (rest // blocks if rest <= LARGE_REMAINDER else -request % BLOCK_BYTES)
