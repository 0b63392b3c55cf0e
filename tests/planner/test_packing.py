"""Rows of a step laid into passes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tsplanner.planner.packing import bins, usual_passes

LENGTHS = st.lists(st.integers(1, 50), max_size=40)


def test_rows_fill_the_pass_that_has_the_least_room_for_them() -> None:
    """7 + 3 and 6 + 4 fill two passes of ten; first come, first served would need three."""
    assert bins([3, 7, 6, 4], 10) == [[0, 1], [2, 3]]


def test_a_row_over_the_budget_goes_alone() -> None:
    """It cannot be cut, and nothing fits beside it."""
    assert bins([12, 5, 5], 10) == [[0], [1, 2]]


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


def test_usual_passes_hold_the_tokens_of_usual_steps() -> None:
    """Rows of ten tokens, eight a step, in passes of forty: two passes of forty tokens."""
    found = usual_passes((10, 10), rows=8, budget=40)
    assert found.per_step == 2
    assert {(each.positions, each.row_length) for each in found.passes} == {(40, 10.0)}
