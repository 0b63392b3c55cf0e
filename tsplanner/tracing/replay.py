"""From one traced step to the events and peaks of several steps."""

from __future__ import annotations

from collections import Counter

from memory_models.allocator.caching_allocator import Event
from tsplanner.tracing.fake_cuda.storages import Phase, TracedStorage
from tsplanner.tracing.records import Alive

STEPS = 3
"""Steps to replay. The second and later steps allocate alike; the third one shows the reserved
bytes once the allocator has the segments of a whole step."""
LISTED = 16
"""Number of groups of tensors in a trace."""


def several_steps(loading: list[Event], step: list[Event], offset: int) -> list[Event]:
    """Events of ``STEPS`` steps from those of the first; each step adds ``offset`` to the numbers.

    The storages that survive the first step are the optimizer's states. Later steps find them and
    do not make them again.
    """
    births = {number for number, size in step if size}
    survivors = births - {number for number, size in step if not size}
    # Only storages that the step both makes and frees come again. A storage of the loading that the
    # first step frees does not: an int8 linear casts its bias once (bitsandbytes nn/modules.py).
    passing = births - survivors
    again = [event for event in step if event[0] in passing]
    events = [*loading, *step]
    for index in range(1, STEPS):
        events += [(number + index * offset, size) for number, size in again]
    return events


def alive_at(events: list[Event], index: int) -> dict[int, int]:
    """Numbers of the tensors that are alive right after an event, with their bytes."""
    alive: dict[int, int] = {}
    for number, size in events[: index + 1]:
        if size:
            alive[number] = size
        else:
            del alive[number]
    return alive


def by_kind(found: list[tuple[TracedStorage, int]]) -> dict[str, int]:
    """Bytes by the kind of storage, largest first."""
    total: Counter[str] = Counter()
    for storage, size in found:
        total[storage.label.value] += size
    return dict(total.most_common())


def largest(found: list[tuple[TracedStorage, int]]) -> tuple[Alive, ...]:
    """The largest groups of tensors that have the same kind, operator, shape and dtype."""
    sizes: Counter[tuple[str, str]] = Counter()
    counts: Counter[tuple[str, str]] = Counter()
    for storage, size in found:
        made = "" if storage.phase is Phase.LOAD else storage.origin
        key = storage.label.value, made
        sizes[key] += size
        counts[key] += 1
    return tuple(
        Alive(kind=key[0], origin=key[1], count=counts[key], bytes=size)
        for key, size in sizes.most_common(LISTED)
    )
