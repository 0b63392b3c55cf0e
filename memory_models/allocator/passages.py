"""Passages of a program of events that leave the allocator as they found it.

A passage frees all that it allocates, and nothing else. If one free block holds everything that the
passage ever takes from it, each of its requests finds a block: that one, or a smaller one that fits
better. So no segment is added, the freed blocks merge to what was free before, and the passage need
not be replayed. Half of a layer's tensors live within such passages.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from memory_models.symbolic import ALLOC, FREE, Event, Size

PASSAGE = 0
"""Beside ``ALLOC`` and ``FREE``: several events that free all that they allocate, and no more."""


Large = tuple[int, int, "tuple[Large, ...]"]
"""One event of a large tensor, or a passage of several: ``ALLOC``, ``FREE`` or ``PASSAGE``; bytes
of the tensor, or the most that the passage takes from one free block; and the passage's own events.
A passage of none is one tensor that is freed right after its allocation."""


class Node(NamedTuple):
    """One event, or a passage of several."""

    kind: int
    """``ALLOC``, ``FREE`` or ``PASSAGE``."""
    size: int = 0
    """Place of the tensor's size among the program's sizes."""
    inner: tuple[Node, ...] = ()
    """The nodes of a passage, in order; none: one tensor that is freed right after its allocation,
    as half of all are."""


class Program(NamedTuple):
    """Events in order, without those of small tensors, which have a pool of their own."""

    large: tuple[Node, ...]
    small: tuple[tuple[int, int], ...]
    """``ALLOC`` or ``FREE`` with the place of the size."""


@lru_cache(maxsize=4096)
def sizes_of(events: tuple[Event, ...]) -> tuple[Size | None, ...]:
    """The sizes that occur, in order; None: a cuBLAS workspace, which stays for good."""
    # Sign 0 is that of a workspace: an allocation that nothing frees.
    return tuple({size if sign else None: None for sign, size in events})


@lru_cache(maxsize=4096)
def by_passages(events: tuple[Event, ...], small: tuple[bool, ...]) -> Program:
    """Events by passages; ``small``: whether each of `sizes_of` is that of a small tensor."""
    places = {size: place for place, size in enumerate(sizes_of(events))}
    leaves = [Node(sign or ALLOC, places[size if sign else None]) for sign, size in events]
    large = [leaf for leaf in leaves if not small[leaf.size]]
    return Program(
        large=_Nested(large).nodes(0, len(large)),
        small=tuple((leaf.kind, leaf.size) for leaf in leaves if small[leaf.size]),
    )


class _Nested:
    """Finds the passages among events; of tensors of one size the last one is freed first."""

    def __init__(self, leaves: Sequence[Node]) -> None:
        self.leaves = leaves
        self.partners: dict[int, int] = {}
        """The place of the free of each allocation, and the reverse."""
        live: dict[int, list[int]] = defaultdict(list)
        for place, leaf in enumerate(leaves):
            if leaf.kind == ALLOC:
                live[leaf.size].append(place)
            elif leaf.kind == FREE and live[leaf.size]:
                begun = live[leaf.size].pop()
                self.partners[begun], self.partners[place] = place, begun

    def nodes(self, begin: int, end: int) -> tuple[Node, ...]:
        """The events from ``begin`` to before ``end``; passages that adjoin are one."""
        found: list[Node] = []
        adjoining: list[Node] = []
        while begin < end:
            after = self._after_passage(begin, end)
            if after is not None:
                adjoining.append(self._passage(begin, after))
                begin = after
                continue
            found += _joined(adjoining)
            found.append(self.leaves[begin])
            adjoining, begin = [], begin + 1
        return (*found, *_joined(adjoining))

    def _passage(self, begin: int, end: int) -> Node:
        first = self.leaves[begin]
        inner = self.nodes(begin + 1, end)
        return Node(PASSAGE, first.size, () if len(inner) == 1 else (first, *inner))

    def _after_passage(self, begin: int, end: int) -> int | None:
        """Where the shortest passage that begins at ``begin`` has ended; None: there is none."""
        place = last = begin
        while place <= last:
            partner = self.partners.get(place)
            if partner is None or not begin <= partner < end:
                return None
            place, last = place + 1, max(last, partner)
        return place


def _joined(passages: list[Node]) -> list[Node]:
    """One passage in place of several that adjoin."""
    found: list[Node] = []
    for node in passages:
        # Where a tensor has found a block, the next one of its size finds one too.
        if node.inner or node not in found:
            found.append(node)
    return [Node(PASSAGE, inner=tuple(found))] if len(found) > 1 else found
