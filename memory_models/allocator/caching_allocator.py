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

A training step makes thousands of requests, so blocks are no objects: a free block is one number in
a sorted list, and a neighbour is found by the address where it ends or begins.
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


ADDRESS_BITS = 62
"""A free block is written as its size above and its address within this number of bits, so that the
order of the numbers is that of sizes and, among equal sizes, that of addresses."""
ADDRESS = (1 << ADDRESS_BITS) - 1
SPARE = LARGE_REMAINDER + BLOCK_BYTES
"""A block that is this much larger than a request is split."""


class _Pool:
    """Blocks of one pool; free ones in order of size and address."""

    __slots__ = ("ends", "free", "keeps", "mapped", "page", "segments", "starts", "used")

    def __init__(self, *, small: bool, expandable: bool) -> None:
        self.page = SMALL_SEGMENT if small else LARGE_SEGMENT
        # In the small pool and in segments that grow, PyTorch splits off any remainder.
        self.keeps = 0 if small or expandable else LARGE_REMAINDER
        """The largest remainder that is not split off."""
        self.free: list[int] = []
        self.starts: dict[int, int] = {}
        """Size of each free block by the address where it begins."""
        self.ends: dict[int, int] = {}
        """Where each free block begins, by the address where it ends."""
        self.used: dict[int, int] = {}
        """Size of each block in use by its address."""
        self.segments: dict[int, int] = {}
        """Size of each segment by its address."""
        self.mapped = 0
        """Bytes of the one segment that grows (expandable segments)."""

    def add(self, address: int, size: int) -> None:
        """A block is free from now on."""
        insort(self.free, size << ADDRESS_BITS | address)
        self.starts[address], self.ends[address + size] = size, address

    def remove(self, address: int) -> int:
        """A free block is no longer free; its size."""
        size = self.starts.pop(address)
        del self.ends[address + size]
        del self.free[bisect_left(self.free, size << ADDRESS_BITS | address)]
        return size

    def copy(self) -> _Pool:
        """A pool of its own in the same state."""
        found = _Pool.__new__(_Pool)
        found.page, found.keeps, found.mapped = self.page, self.keeps, self.mapped
        found.free, found.starts, found.ends = self.free[:], self.starts.copy(), self.ends.copy()
        found.used, found.segments = self.used.copy(), self.segments.copy()
        return found


class OutOfMemoryError(Exception):
    """A request does not fit under the cap."""


class CachingAllocator:
    """The state of the allocator, which ``allocate`` and ``release`` change."""

    def __init__(self, *, cap: int | None = None, expandable: bool = False) -> None:
        self.cap, self.expandable = cap, expandable
        self.allocated = self.reserved = self.retries = 0
        self.peak_allocated = self.peak_reserved = 0
        self._small = _Pool(small=True, expandable=expandable)
        self._large = _Pool(small=False, expandable=expandable)
        self._next_address = 0

    def copy(self) -> CachingAllocator:
        """An allocator of its own in the same state."""
        found = CachingAllocator(cap=self.cap, expandable=self.expandable)
        found.allocated, found.reserved, found.retries = self.allocated, self.reserved, self.retries
        found.peak_allocated, found.peak_reserved = self.peak_allocated, self.peak_reserved
        found._small, found._large = self._small.copy(), self._large.copy()
        found._next_address = self._next_address
        return found

    def allocate(self, size: int) -> int:
        """The address of ``size`` bytes.

        Raises:
            OutOfMemoryError: they do not fit under the cap.
        """
        wanted = -(-size // BLOCK_BYTES) * BLOCK_BYTES or BLOCK_BYTES
        pool = self._small if wanted <= SMALL_REQUEST else self._large
        free, ends = pool.free, pool.ends
        index = bisect_left(free, wanted << ADDRESS_BITS)
        if index < len(free):
            block = free.pop(index)
            address, width = block & ADDRESS, block >> ADDRESS_BITS
            del pool.starts[address], ends[address + width]
        else:
            address, width = self._grown(pool, wanted)
        rest = width - wanted
        if rest > pool.keeps:
            after = address + wanted
            insort(free, rest << ADDRESS_BITS | after)
            pool.starts[after], ends[address + width] = rest, after
            width = wanted
        pool.used[address] = width
        self.allocated += width
        # A call of ``max`` would take a tenth of this method, which is called by the million.
        if self.allocated > self.peak_allocated:  # noqa: PLR1730
            self.peak_allocated = self.allocated
        return address

    def release(self, address: int, size: int) -> None:
        """Return the ``size`` bytes that were asked for to their pool."""
        pool = self._small if size <= SMALL_REQUEST else self._large
        starts, ends, free = pool.starts, pool.ends, pool.free
        width = pool.used.pop(address)
        self.allocated -= width
        end = address + width
        if (before := ends.pop(address, None)) is not None:
            earlier = starts.pop(before)
            del free[bisect_left(free, earlier << ADDRESS_BITS | before)]
            address, width = before, width + earlier
        if (later := starts.pop(end, None)) is not None:
            del free[bisect_left(free, later << ADDRESS_BITS | end)]
            end, width = end + later, width + later
        insort(free, width << ADDRESS_BITS | address)
        starts[address], ends[end] = width, address

    @property
    def free_large(self) -> list[int]:
        """Free blocks of the large pool in order, each as its size above its address."""
        return self._large.free

    def _grown(self, pool: _Pool, wanted: int) -> tuple[int, int]:
        """Address and size of a block of a new segment, or of the segment that grows."""
        if self.expandable:
            return self._stretched(pool, wanted)
        size = _segment_bytes(wanted)
        if not self._has_room(size):
            self._retry()
        self._reserve(size)
        address = self._next_address
        # Segments never touch, or blocks of two of them would merge.
        self._next_address = address + size + BLOCK_BYTES
        pool.segments[address] = size
        return address, size

    def _stretched(self, pool: _Pool, wanted: int) -> tuple[int, int]:
        """Map more pages after the last block; the new block starts with a free last block."""
        start, size = self._missing(pool, wanted)
        if not self._has_room(size):
            self._retry()
            # What was released may have been the last block.
            start, size = self._missing(pool, wanted)
        self._reserve(size)
        if start < pool.mapped:
            pool.remove(start)
        pool.mapped += size
        return start, pool.mapped - start

    @staticmethod
    def _missing(pool: _Pool, wanted: int) -> tuple[int, int]:
        """Where a block at the end of the segment would begin, and the bytes to map for it."""
        start = pool.ends.get(pool.mapped, pool.mapped)
        return start, round_up(wanted - (pool.mapped - start), pool.page)

    def _has_room(self, size: int) -> bool:
        return self.cap is None or self.reserved + size <= self.cap

    def _reserve(self, size: int) -> None:
        if not self._has_room(size):
            raise OutOfMemoryError
        self.reserved += size
        self.peak_reserved = max(self.peak_reserved, self.reserved)

    def _retry(self) -> None:
        # PyTorch empties its cache only after the driver refused a segment; then it retries.
        self.retries += 1
        self.release_cached_blocks()

    def release_cached_blocks(self) -> None:
        """Return free segments to the driver, or free pages of segments that grow."""
        for pool in (self._small, self._large):
            if self.expandable:
                self._unmap(pool)
                continue
            for address, size in list(pool.starts.items()):
                if pool.segments.get(address) == size:
                    pool.remove(address)
                    del pool.segments[address]
                    self.reserved -= size

    def _unmap(self, pool: _Pool) -> None:
        """Return the free pages at the end of the segment that grows.

        Ignores: free pages in the middle, which PyTorch unmaps too.
        """
        start = pool.ends.get(pool.mapped, pool.mapped)
        given = (pool.mapped - start) // pool.page * pool.page
        if not given:
            return
        size = pool.remove(start)
        self.reserved -= given
        pool.mapped -= given
        if size > given:
            pool.add(start, size - given)


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
    held: dict[int, tuple[int, int]] = {}
    peak_event, highest, fitted = 0, 0, True
    for index, (number, size) in enumerate(events):
        if size == 0:
            allocator.release(*held.pop(number))
            continue
        try:
            held[number] = allocator.allocate(size), size
        except OutOfMemoryError:
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
