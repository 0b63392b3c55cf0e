"""A program reduced to what it keeps, its peaks and what it leaves."""

from __future__ import annotations

from memory_models.symbolic import ALLOC, FREE
from tsplanner.tracing.recording.levels import levels_of
from tsplanner.tracing.recording.programs import Program

INPUT, KEPT, MORE, OUTPUT, PASSING, INCOMING, OUTGOING, WEIGHT = range(8)


def looped() -> Program:
    """Two kept tensors of 10 and 20 bytes, 5 that pass, an output of 8; a gradient of 3 is left."""
    return Program(
        forward=[
            (ALLOC, KEPT),
            (ALLOC, PASSING),
            (ALLOC, MORE),
            (FREE, PASSING),
            (ALLOC, OUTPUT),
        ],
        kept=[INPUT, KEPT, MORE],
        backward=[
            (ALLOC, WEIGHT),
            (ALLOC, OUTGOING),
            (FREE, KEPT),
            (FREE, MORE),
            (FREE, INPUT),
            (FREE, INCOMING),
        ],
        bytes=[8, 10, 20, 8, 5, 8, 8, 3],
    )


def level(program: Program, events: list[tuple[int, int]]) -> tuple[int, int]:
    """The highest level and the last one."""
    now = peak = 0
    for sign, number in events:
        now += sign * program.bytes[number]
        peak = max(peak, now)
    return peak, now


def test_kept_bytes_become_one_tensor_beside_the_input() -> None:
    """10 + 20 bytes, and the 8 of the input."""
    found = levels_of(looped())
    assert sorted(found.bytes[number] for number in found.kept) == [8, 30]


def test_peaks_and_what_is_left_stay() -> None:
    """Forward ends at 38, its peak; backward's peak is 11, and 11 - 46 is left of it."""
    before, found = looped(), levels_of(looped())
    assert level(found, found.forward) == level(before, before.forward) == (38, 38)
    assert level(found, found.backward) == level(before, before.backward) == (11, -35)


def test_more_passes_of_the_loop_make_no_other_program() -> None:
    """A third kept tensor changes a size, not the events."""
    longer = looped()
    longer.bytes.append(20)
    longer.forward.insert(3, (ALLOC, 8))
    longer.kept.append(8)
    longer.backward.append((FREE, 8))
    assert levels_of(longer).shape == levels_of(looped()).shape
