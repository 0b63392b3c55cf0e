"""The simulated caching allocator against literals worked out by hand from PyTorch's rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_models.allocator.caching_allocator import (
    CachingAllocator,
    OutOfMemoryError,
    simulate,
)

MIB = 2**20


def test_simulate_rounds_a_request_to_512_bytes():
    """A tensor of one byte takes 512 bytes of a 2 MiB segment, as on a GPU."""
    found = simulate([(0, 1)])
    assert (found.peak_allocated, found.peak_reserved) == (512, 2 * MIB)


def test_simulate_counts_an_exact_multiple_of_512_as_it_is():
    """1024 bytes take 1024 bytes."""
    assert simulate([(0, 1024)]).peak_allocated == 1024


def test_simulate_takes_one_mib_from_the_small_pool():
    """Requests up to 1 MiB share segments of 2 MiB: two of them need one segment."""
    found = simulate([(0, MIB), (1, MIB)])
    assert (found.peak_allocated, found.peak_reserved) == (2 * MIB, 2 * MIB)


def test_simulate_takes_more_than_one_mib_from_a_segment_of_20():
    """The first request above 1 MiB reserves 20 MiB."""
    found = simulate([(0, MIB + 512)])
    assert (found.peak_allocated, found.peak_reserved) == (MIB + 512, 20 * MIB)


def test_simulate_rounds_a_segment_for_10_mib_and_more_to_2_mib():
    """A request of 10 MiB and a bit gets a segment of 12 MiB, split where over 1 MiB is left."""
    found = simulate([(0, 10 * MIB + 512)])
    assert (found.peak_allocated, found.peak_reserved) == (10 * MIB + 512, 12 * MIB)


def test_simulate_keeps_a_large_block_whole_if_a_mib_or_less_would_be_left():
    """11 MiB in a segment of 12 leave 1 MiB, which is not split off: 12 MiB count as in use."""
    found = simulate([(0, 11 * MIB)])
    assert (found.peak_allocated, found.peak_reserved) == (12 * MIB, 12 * MIB)


def test_simulate_takes_the_smallest_free_block_that_is_large_enough():
    """With 32 and 16 MiB free, a request of 16 MiB leaves the 32 for the next."""
    events = [(0, 32 * MIB), (1, 16 * MIB), (0, 0), (1, 0), (2, 16 * MIB), (3, 32 * MIB)]
    assert simulate(events).peak_reserved == 48 * MIB


def test_simulate_cannot_put_a_large_tensor_into_two_free_segments():
    """Fragmentation: 2 x 20 MiB are free and 40 MiB need a segment of their own."""
    events = [(0, 20 * MIB), (1, 20 * MIB), (0, 0), (1, 0), (2, 40 * MIB)]
    found = simulate(events)
    assert (found.peak_allocated, found.peak_reserved) == (40 * MIB, 80 * MIB)


def test_simulate_merges_free_neighbours_of_one_segment():
    """Three 6 MiB tensors share 20 MiB; freed, they make room for 18 MiB."""
    births = [(0, 6 * MIB), (1, 6 * MIB), (2, 6 * MIB)]
    deaths = [(1, 0), (0, 0), (2, 0)]
    assert simulate([*births, *deaths, (3, 18 * MIB)]).peak_reserved == 20 * MIB


def test_simulate_does_not_merge_across_a_tensor_in_use():
    """With the middle 6 MiB in use, 8 + 6 MiB are free but no 12: a second segment is needed."""
    births = [(0, 6 * MIB), (1, 6 * MIB), (2, 6 * MIB)]
    assert simulate([*births, (0, 0), (2, 0), (3, 12 * MIB)]).peak_reserved == 32 * MIB


def test_simulate_names_the_event_of_the_peak():
    """The peak is where most bytes were in use, not where most were reserved."""
    events = [(0, 4 * MIB), (1, 4 * MIB), (0, 0), (2, 2 * MIB)]
    assert simulate(events).peak_event == 1


def test_simulate_gives_cached_segments_back_under_a_cap():
    """Under 50 MiB two free 20 MiB segments are returned to make room for 40 MiB."""
    events = [(0, 20 * MIB), (1, 20 * MIB), (0, 0), (1, 0), (2, 40 * MIB)]
    found = simulate(events, cap=50 * MIB)
    assert (found.fitted, found.retries, found.peak_reserved) == (True, 1, 40 * MIB)


def test_simulate_reports_out_of_memory_under_a_cap():
    """A segment that is in use in part cannot be returned, so 40 MiB do not fit beside it."""
    events = [(0, 6 * MIB), (1, 6 * MIB), (0, 0), (2, 40 * MIB)]
    found = simulate(events, cap=50 * MIB)
    assert (found.fitted, found.peak_reserved) == (False, 20 * MIB)


def test_simulate_lets_an_expandable_segment_grow_instead_of_adding_one():
    """Expandable: freed 2 x 20 MiB are one hole, and 60 MiB need only 20 more."""
    events = [(0, 20 * MIB), (1, 20 * MIB), (0, 0), (1, 0), (2, 60 * MIB)]
    assert simulate(events, expandable=True).peak_reserved == 60 * MIB
    assert simulate(events).peak_reserved == 100 * MIB


def test_simulate_maps_expandable_segments_in_pages_of_20_mib():
    """21 MiB need two pages."""
    assert simulate([(0, 21 * MIB)], expandable=True).peak_reserved == 40 * MIB


@st.composite
def lifetimes(draw):
    """Births and deaths in an order that can be."""
    events, alive, number = [], [], 0
    for _ in range(draw(st.integers(1, 60))):
        if alive and draw(st.booleans()):
            events.append((alive.pop(draw(st.integers(0, len(alive) - 1))), 0))
        else:
            events.append((number, draw(st.integers(1, 64 * MIB))))
            alive.append(number)
            number += 1
    return events


@given(lifetimes(), st.booleans())
def test_simulate_never_reserves_less_than_it_gives_out(events, expandable):
    """Requested <= allocated <= reserved, and a run that fitted under a cap kept to it."""
    found = simulate(events, expandable=expandable)
    held, requested, sizes = 0, 0, {}
    for number, size in events:
        held += size or -sizes[number]
        sizes[number] = size
        requested = max(requested, held)
    assert requested <= found.peak_allocated <= found.peak_reserved
    capped = simulate(events, cap=found.peak_reserved, expandable=expandable)
    assert capped == found


def test_a_freed_block_of_exactly_the_size_is_taken_again_when_segments_grow() -> None:
    """Of two free blocks of 512 bytes and one of 1,024 between used ones, 1,024 takes its own."""
    allocator = CachingAllocator(expandable=True)
    sizes = (512, 512, 1024, 512)
    places = [allocator.allocate(size) for size in sizes]
    allocator.release(places[2], 1024)
    assert allocator.allocate(1024) == places[2]


def test_a_copy_goes_on_by_itself() -> None:
    """What the copy allocates leaves the first one as it was."""
    first = CachingAllocator()
    place = first.allocate(4 * MIB)
    copy = first.copy()
    copy.release(place, 4 * MIB)
    copy.allocate(30 * MIB)
    assert (first.allocated, first.reserved) == (4 * MIB, 20 * MIB)
    assert (copy.allocated, copy.reserved) == (30 * MIB, 50 * MIB)


def test_pages_released_near_the_cap_are_mapped_again() -> None:
    """30 MiB are free at the end of 40; 50 under a cap of 60 need all pages anew, and fit."""
    allocator = CachingAllocator(cap=60 * MIB, expandable=True)
    kept = allocator.allocate(10 * MIB)
    end = allocator.allocate(30 * MIB)
    allocator.release(end, 30 * MIB)
    place = allocator.allocate(50 * MIB)
    assert (place, allocator.allocated) == (kept + 10 * MIB, 60 * MIB)
    with pytest.raises(OutOfMemoryError):
        allocator.allocate(20 * MIB)
