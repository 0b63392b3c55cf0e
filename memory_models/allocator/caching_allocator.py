"""A simulator of PyTorch's CUDA caching allocator: from tensors' lifetimes to reserved bytes.

The allocator rounds requests to 512 bytes. Requests up to 1 MiB share segments of 2 MiB, requests
below 10 MiB share segments of 20 MiB, and larger requests get segments of their own in steps of
2 MiB. A request gets the smallest free block that is large enough; of equal blocks it gets the one
with the lowest address. The allocator splits a large enough remainder off. Freed blocks merge with
free neighbours in their segment and stay reserved.

Source: c10/cuda/CUDACachingAllocator.cpp (round_size, get_free_block, should_split, malloc,
free_block, try_merge_blocks, release_cached_blocks).
Ignores: several streams, max_split_size_mb, garbage collection, roundup_power2_divisions, the
addresses of segments (assumed to ascend).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import NamedTuple

from memory_models.rounding import (
    BLOCK_BYTES,
    LARGE_REMAINDER,
    LARGE_REQUEST,
    LARGE_SEGMENT,
    LARGE_STEP,
    SMALL_REQUEST,
    SMALL_SEGMENT,
)
from memory_models.units import round_up

Event = tuple[int, int]
"""Number of a tensor and its bytes when it is allocated; number and 0 when it is freed."""


class Replay(NamedTuple):
    """The result of a replay."""

    peak_allocated: int
    """Peak of the bytes of blocks in use, rounding included."""
    peak_reserved: int
    """Peak of the bytes of segments."""
    peak_event: int
    """Index of the event that first reached ``peak_allocated``."""
    fitted: bool = True
    """False: a request did not fit under the cap, and the replay ended there."""
    retries: int = 0
    """Number of requests before which cached segments had to be released."""


class _Block:
    """A part of a segment, linked with its neighbours in the segment."""

    __slots__ = ("address", "after", "allocated", "before", "pool", "size")

    def __init__(
        self,
        address: int,
        size: int,
        pool: _Pool,
        *,
        before: _Block | None = None,
        after: _Block | None = None,
    ) -> None:
        self.address, self.size, self.pool = address, size, pool
        self.before, self.after = before, after
        self.allocated = False


class _Pool:
    """Free blocks of one pool, in order of size and address."""

    def __init__(self, *, small: bool) -> None:
        self.small = small
        self.free: list[tuple[int, int]] = []
        self.blocks: dict[int, _Block] = {}
        """Free blocks by address."""
        self.tail: _Block | None = None
        """Last block of the one segment that grows (expandable segments)."""

    def add(self, block: _Block) -> None:
        insort(self.free, (block.size, block.address))
        self.blocks[block.address] = block

    def remove(self, block: _Block) -> None:
        del self.free[bisect_left(self.free, (block.size, block.address))]
        del self.blocks[block.address]

    def take(self, size: int) -> _Block | None:
        """The smallest block of at least ``size``, no longer free; None if there is none."""
        index = bisect_left(self.free, (size, 0))
        if index == len(self.free):
            return None
        return self.blocks.pop(self.free.pop(index)[1])


class _OutOfMemory(Exception):
    pass


class CachingAllocator:
    """The state of the allocator, which ``allocate`` and ``release`` change."""

    def __init__(self, *, cap: int | None = None, expandable: bool = False) -> None:
        self.cap, self.expandable = cap, expandable
        self.allocated = self.reserved = self.retries = 0
        self.peak_allocated = self.peak_reserved = 0
        self._small, self._large = _Pool(small=True), _Pool(small=False)
        self._in_use: dict[int, _Block] = {}
        self._next_address = 0

    def allocate(self, number: int, size: int) -> bool:
        """Allocate ``size`` bytes for tensor ``number``; False: they do not fit under the cap."""
        wanted = -(-max(size, 1) // BLOCK_BYTES) * BLOCK_BYTES
        pool = self._small if wanted <= SMALL_REQUEST else self._large
        block = pool.take(wanted)
        if block is None:
            try:
                block = self._grown(pool, wanted)
            except _OutOfMemory:
                return False
            pool.remove(block)
        self._split(block, wanted)
        block.allocated = True
        self._in_use[number] = block
        self.allocated += block.size
        self.peak_allocated = max(self.peak_allocated, self.allocated)
        return True

    def release(self, number: int) -> None:
        """Return the memory of tensor ``number`` to its pool."""
        block = self._in_use.pop(number)
        self.allocated -= block.size
        block.allocated = False
        for neighbour in (block.before, block.after):
            if neighbour is not None and not neighbour.allocated:
                block.pool.remove(neighbour)
                block = self._merged(block, neighbour)
        block.pool.add(block)

    def _split(self, block: _Block, wanted: int) -> None:
        rest = block.size - wanted
        # In the small pool and in segments that grow, PyTorch splits off any remainder.
        fine = block.pool.small or self.expandable
        if rest < BLOCK_BYTES if fine else rest <= LARGE_REMAINDER:
            return
        tail = _Block(block.address + wanted, rest, block.pool, before=block, after=block.after)
        if block.after is not None:
            block.after.before = tail
        if block.pool.tail is block:
            block.pool.tail = tail
        block.after, block.size = tail, wanted
        block.pool.add(tail)

    @staticmethod
    def _merged(one: _Block, other: _Block) -> _Block:
        first, second = (one, other) if one.address < other.address else (other, one)
        first.size += second.size
        first.after = second.after
        if second.after is not None:
            second.after.before = first
        if first.pool.tail is second:
            first.pool.tail = first
        return first

    def _grown(self, pool: _Pool, wanted: int) -> _Block:
        """A free block of a new segment, or of the segment that grows."""
        if self.expandable:
            return self._stretched(pool, wanted)
        size = _segment_bytes(wanted)
        self._reserve(size)
        block = _Block(self._next_address, size, pool)
        self._next_address += size
        pool.add(block)
        return block

    def _stretched(self, pool: _Pool, wanted: int) -> _Block:
        """Map more pages after the last block; the new block starts with a free last block."""
        page = SMALL_SEGMENT if pool.small else LARGE_SEGMENT
        last = pool.tail
        start = last if last is not None and not last.allocated else None
        size = round_up(wanted - (start.size if start else 0), page)
        self._reserve(size)
        # Near the cap ``_reserve`` may have emptied the cache, and with it the last block.
        if start is not None and start is pool.tail and start.address in pool.blocks:
            pool.remove(start)
            start.size += size
            pool.add(start)
            return start
        last = pool.tail
        # The address ranges of the two pools never meet: the small pool lies below zero.
        base = last.address + last.size if last else (-(2**62) if pool.small else 0)
        block = _Block(base, size, pool, before=last)
        if last is not None:
            last.after = block
        pool.tail = block
        pool.add(block)
        return block

    def _reserve(self, size: int) -> None:
        # PyTorch empties its cache only after the driver refused a segment; then it retries.
        if self.cap is not None and self.reserved + size > self.cap:
            self.retries += 1
            self.release_cached_blocks()
            if self.reserved + size > self.cap:
                raise _OutOfMemory
        self.reserved += size
        self.peak_reserved = max(self.peak_reserved, self.reserved)

    def release_cached_blocks(self) -> None:
        """Return free segments to the driver, or free pages of segments that grow."""
        for pool in (self._small, self._large):
            for block in list(pool.blocks.values()):
                if self.expandable:
                    self._unmap(pool, block)
                elif block.before is None and block.after is None:
                    pool.remove(block)
                    self.reserved -= block.size

    def _unmap(self, pool: _Pool, block: _Block) -> None:
        """Return the free pages at the end of the segment that grows.

        Ignores: free pages in the middle, which PyTorch unmaps too.
        """
        if block is not pool.tail:
            return
        page = SMALL_SEGMENT if pool.small else LARGE_SEGMENT
        given = block.size // page * page
        if not given:
            return
        pool.remove(block)
        self.reserved -= given
        block.size -= given
        if block.size:
            pool.add(block)
        else:
            pool.tail = block.before
            if block.before is not None:
                block.before.after = None


def _segment_bytes(wanted: int) -> int:
    if wanted <= SMALL_REQUEST:
        return SMALL_SEGMENT
    if wanted < LARGE_REQUEST:
        return LARGE_SEGMENT
    return round_up(wanted, LARGE_STEP)


def simulate(
    events: Iterable[Event], cap: int | None = None, *, expandable: bool = False
) -> Replay:
    """Replay allocations and frees of tensors.

    ``cap``: most bytes that may be reserved; None: no limit. ``expandable``: the replay models
    ``expandable_segments:True``.
    """
    allocator = CachingAllocator(cap=cap, expandable=expandable)
    peak_event, highest, fitted = 0, 0, True
    for index, (number, size) in enumerate(events):
        if size == 0:
            allocator.release(number)
            continue
        if not allocator.allocate(number, size):
            fitted = False
            break
        if allocator.allocated > highest:
            highest, peak_event = allocator.allocated, index
    return Replay(
        peak_allocated=allocator.peak_allocated,
        peak_reserved=allocator.peak_reserved,
        peak_event=peak_event,
        fitted=fitted,
        retries=allocator.retries,
    )
