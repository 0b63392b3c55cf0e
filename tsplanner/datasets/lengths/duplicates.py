"""Which rows have been seen before, by their digests, in 12 to 24 bytes of memory per row."""

from __future__ import annotations

from array import array

FIRST_SLOTS = 1 << 12
MOST_SLOTS = 1 << 24
"""Slots of the largest table, 128 MiB; it holds 11 million rows, and later ones are not noted."""
_MASK = (1 << 64) - 1
_SPREAD = 0x9E3779B97F4A7C15
"""An odd number near 2**64 divided by the golden ratio: products spread over the high bits."""


class SeenRows:
    """A set of 64-bit digests; two of a million different rows agree once in 40 million cases.

    Python's own set takes 100 bytes per number.
    """

    def __init__(self) -> None:
        self._slots = array("q", bytes(8 * FIRST_SLOTS))
        self._rows = 0

    def add(self, digest: int) -> bool:
        """Note a digest; whether it was there before."""
        if 3 * self._rows > 2 * len(self._slots):
            if len(self._slots) >= MOST_SLOTS:
                return self._held(digest)
            self._grow()
        place = self._place(digest)
        if self._slots[place]:
            return True
        self._slots[place] = digest or 1  # an empty slot holds 0
        self._rows += 1
        return False

    def _held(self, digest: int) -> bool:
        return bool(self._slots[self._place(digest)])

    def _place(self, digest: int) -> int:
        """The slot of a digest, or the empty one where it belongs."""
        slots, digest = self._slots, digest or 1
        last = len(slots) - 1
        place = (digest * _SPREAD & _MASK) >> (64 - last.bit_length())
        while (held := slots[place]) and held != digest:
            place = (place + 1) & last
        return place

    def _grow(self) -> None:
        held, self._slots = self._slots, array("q", bytes(16 * len(self._slots)))
        for digest in held:
            if digest:
                self._slots[self._place(digest)] = digest
