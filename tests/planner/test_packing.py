"""Rows of a step laid into passes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from memory_models.settings import from_flat
from tsplanner.datasets.records import LengthSummary
from tsplanner.planner.packing import bins, usual_passes

LENGTHS = st.lists(st.integers(1, 50), max_size=40)


def test_rows_fill_the_pass_that_has_the_least_room_for_them() -> None:
    """7 + 3 and 6 + 4 fill two passes of ten; first come, first served would need three."""
    assert bins([3, 7, 6, 4], 10) == [[0, 1], [2, 3]]


def test_a_row_over_the_budget_goes_alone() -> None:
    """It cannot be cut, and nothing fits beside it."""
    assert bins([12, 5, 5], 10) == [[0], [1, 2]]


def test_passes_come_longest_first() -> None:
    """Processes that gather every layer together then make passes of like lengths together."""
    assert bins([2, 9, 7, 8], 10) == [[0, 3], [1], [2]]


@given(lengths=LENGTHS, budget=st.integers(1, 100))
def test_every_row_goes_through_once_and_within_the_budget(lengths: list[int], budget: int) -> None:
    """Whatever the lengths, and no two passes could be one."""
    found = bins(lengths, budget)
    assert sorted(place for places in found for place in places) == list(range(len(lengths)))
    sums = sorted(sum(lengths[place] for place in places) for places in found)
    assert all(
        sum(lengths[place] for place in places) <= budget or len(places) == 1 for places in found
    )
    assert len(sums) < 2 or sums[0] + sums[1] > budget


def lengths(**changes: object) -> LengthSummary:
    """Rows of ten positions each, unless said otherwise."""
    return from_flat(
        LengthSummary,
        **{
            "rows_total": 100,
            "rows_kept": 100,
            "longest": 10,
            "mean": 10.0,
            "counted_by": "tokenizer",
            "quantiles": (10, 10),
            **changes,
        },
    )


def test_usual_passes_hold_the_tokens_of_usual_steps() -> None:
    """Rows of ten tokens, eight a step, in passes of forty: two passes of forty tokens."""
    found = usual_passes(lengths(), rows=8, budget=40)
    assert (found.each, found.per_row) == (2, 0.25)
    assert {(each.positions, each.row_length) for each in found.passes} == {(40, 10.0)}
    assert set(found.widths) == {40}


def test_rows_have_the_mean_of_the_dataset() -> None:
    """Quantiles from 100 to 300 alone would make 200; the dataset's own mean is 150."""
    uneven = lengths(longest=300, mean=150.0, quantiles=(100, 300))
    found = usual_passes(uneven, rows=16, budget=10_000)
    assert found.each == 1
    # Padding to a multiple of eight adds 3.5 positions to a pass on average.
    assert abs(found.mean.positions - (16 * 150 + 3.5)) < 16
    # Rows spread evenly from 75 to 225: the mean over positions is E(l^2) / E(l) = 162.5.
    assert abs(found.mean.row_length - 162.5) < 3


def test_a_step_of_several_processes_is_that_of_the_slowest() -> None:
    """Of four sums the largest is above the mean; of equal rows it is not."""
    uneven = lengths(longest=300, mean=200.0, quantiles=(100, 300))
    alone, four = (usual_passes(uneven, 4, 10_000, processes) for processes in (1, 4))
    assert four.mean.positions > 1.05 * alone.mean.positions
    assert usual_passes(lengths(), 4, 40, 4) == usual_passes(lengths(), 4, 40)


def test_more_rows_than_were_drawn_are_more_passes_of_the_same_kind() -> None:
    """Ten rows of ten fill a pass of 100: 100,000 rows take 10,000, or few more."""
    many = usual_passes(lengths(), 100_000, 100).each
    assert 10_000 <= many < 10_100
