"""From one traced step to the peaks of a run of several."""

from __future__ import annotations

from collections import Counter

from memory_models.allocator.caching_allocator import Event
from tsplanner.tracing.fake_cuda.storages import Phase, TracedStorage
from tsplanner.tracing.records import Alive

STEPS = 3
"""From the second on, steps are alike; the third shows what reserving more has come to."""
LISTED = 16
"""Groups of tensors that are named."""


def several_steps(loading: list[Event], step: list[Event], offset: int) -> list[Event]:
    """Events of ``STEPS`` steps from those of the first one; numbers of each grow by ``offset``.

    What survives the first step are the optimizer's states, made in it; later steps find them.
    """
    births = {number for number, size in step if size}
    survivors = births - {number for number, size in step if not size}
    # Not what the first step frees for good either: an int8 bias that is cast once.
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
    """Bytes by what they are for."""
    total: Counter[str] = Counter()
    for storage, size in found:
        total[storage.label.value] += size
    return dict(total.most_common())


def largest(found: list[tuple[TracedStorage, int]]) -> tuple[Alive, ...]:
    """The largest groups of like tensors."""
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
