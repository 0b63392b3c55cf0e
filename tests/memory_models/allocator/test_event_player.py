"""Events of a step, as they are played on the simulated allocator."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_models.allocator.event_player import Replayed, load_model, small_share
from memory_models.settings import Kernels, TrainingSettings
from memory_models.symbolic import ALLOC, FREE, WORKSPACE, Event, Size
from memory_models.units import MIB
from tests.support.toy_decoder import TOY

LARGE = Size(constant=4 * MIB)


def player(workspace: int = 32 * MIB) -> Replayed:
    """An empty allocator for a step of a toy on 64 tokens."""
    return Replayed(TOY, TrainingSettings(sequence_length=64), workspace)


@pytest.mark.parametrize(
    ("size", "share"),
    [(MIB, MIB), (768 * 1024, MIB), (600 * 1024, 2 * MIB // 3), (1024, 1024), (8, 512)],
)
def test_small_tensors_share_segments_of_two_mebibytes(size: int, share: int) -> None:
    """Two of 768 KiB leave a quarter of a segment that no third one fits into."""
    assert small_share(size) == share


def test_events_take_their_bytes_from_the_tokens_of_the_step() -> None:
    """64 tokens of 64 KiB are 4 MiB; 1 MiB and a bit x 3 units of a chunk are 3 and a bit."""
    played = player()
    unit = Size(per_unit=MIB + 512)
    played.play(((ALLOC, Size(per_token=64 * 1024)), (ALLOC, unit)), units=3)
    assert played.allocator.allocated == 7 * MIB + 3 * 512
    played.play(((FREE, Size(per_token=64 * 1024)),))
    assert played.allocator.allocated == 3 * MIB + 3 * 512


def test_events_played_again_do_the_same_again() -> None:
    """Layers repeat a few programs, whose bytes are worked out once."""
    played, events = player(), ((ALLOC, LARGE), (ALLOC, LARGE), (FREE, LARGE))
    for layers in (1, 2, 3):
        played.play(events)
        assert played.allocator.allocated == layers * 4 * MIB
        assert len(played.sized) == 1


@st.composite
def events_in_order(draw: st.DrawFn) -> list[Event]:
    """Allocations, and frees of tensors that are there, of a few sizes, some of them small."""
    sizes = [Size(constant=n * MIB // 4 + 200) for n in (2, 5, 9, 17, 42, 43, 80, 130)]
    live: list[Size] = []
    events: list[Event] = []
    for _ in range(draw(st.integers(1, 40))):
        if live and draw(st.booleans()):
            events.append((FREE, live.pop(draw(st.integers(0, len(live) - 1)))))
        else:
            live.append(draw(st.sampled_from(sizes)))
            events.append((ALLOC, live[-1]))
    return events


@pytest.mark.parametrize("expandable", [False, True])
@given(programs=st.lists(events_in_order(), min_size=1, max_size=4))
def test_passages_that_fit_are_left_out_and_nothing_is_different(
    *, programs: list[list[Event]], expandable: bool
) -> None:
    """The same programs event by event leave the same free blocks, addresses and peak."""
    settings = TrainingSettings(sequence_length=64, kernels=Kernels(expandable_segments=expandable))
    by_passages, by_event = (Replayed(TOY, settings, 32 * MIB) for _ in range(2))
    for program in programs:
        by_passages.play(tuple(program))
        for sign, size in program:
            (by_event.alloc if sign == ALLOC else by_event.free)(size.constant)
        for each in (by_passages, by_event):
            each.alloc(3 * MIB)
        assert by_passages.allocator.free_large == by_event.allocator.free_large
        assert by_passages.allocator.reserved == by_event.allocator.reserved
        assert {size: held for size, held in by_passages.live.items() if held} == {
            size: held for size, held in by_event.live.items() if held
        }
        assert (by_passages.small, by_passages.most_small) == (by_event.small, by_event.most_small)


@pytest.mark.parametrize("expandable", [False, True])
def test_a_tensor_that_is_freed_at_once_is_an_allocation_and_a_free(*, expandable: bool) -> None:
    """With and without a free block that is large enough; small and large."""
    settings = TrainingSettings(sequence_length=64, kernels=Kernels(expandable_segments=expandable))
    for sizes in ([3 * MIB, 30 * MIB], [MIB], [15 * MIB, 4 * MIB], [12 * MIB]):
        touched, played = (Replayed(TOY, settings, 32 * MIB) for _ in range(2))
        for each in (touched, played):
            each.alloc(4 * MIB)
            each.alloc(2 * MIB)
            each.free(4 * MIB)
        for size in sizes:
            touched.play(((ALLOC, Size(constant=size)), (FREE, Size(constant=size))))
            played.alloc(size)
            played.free(size)
        assert touched.allocator.peak_reserved == played.allocator.peak_reserved
        assert touched.allocator.reserved == played.allocator.reserved
        assert touched.allocator.allocate(3 * MIB) == played.allocator.allocate(3 * MIB)


def test_small_tensors_are_summed_up_with_their_peak() -> None:
    """Three of 1 KiB at the peak, also if a large one comes between; then two, then one."""
    played, small = player(), Size(constant=1024)
    played.play(((ALLOC, small), (ALLOC, small), (ALLOC, LARGE), (ALLOC, small), (FREE, small)))
    assert (played.small, played.most_small) == (2048, 3072)
    played.play(((FREE, small),))
    assert (played.small, played.most_small) == (1024, 3072)
    assert played.allocator.allocated == 4 * MIB


def test_a_workspace_stays_for_good() -> None:
    """Nobody frees it."""
    played = player(workspace=8 * MIB)
    played.play((WORKSPACE,))
    assert played.allocator.allocated == 8 * MIB


def test_more_is_not_freed_than_is_there() -> None:
    """What is gone stays gone, and an empty cache reserves nothing."""
    played = player()
    played.alloc(24 * MIB, copies=2)
    played.free(24 * MIB, copies=5)
    assert played.allocator.allocated == 0
    played.empty_cache()
    assert played.allocator.reserved == played.allocator.peak_reserved == 0


def test_a_loaded_model_takes_its_weights_and_a_workspace() -> None:
    """The toy's tensors are small, so the large pool holds the workspace alone."""
    played = player(workspace=8 * MIB)
    load_model(played)
    assert played.allocator.allocated == 8 * MIB
    assert played.small > 0
