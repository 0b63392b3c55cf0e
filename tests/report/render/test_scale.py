"""Axes of charts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsplanner.report.render.scale import Scale, log_ticks, thinned, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 75.0, [0.0, 20.0, 40.0, 60.0, 80.0]),
        (0.0, 1.1, [0.0, 0.5, 1.0, 1.5]),
        (0.41, 0.44, [0.41, 0.42, 0.43, 0.44]),
        (0.0, 0.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    ],
)
def test_ticks_are_round_and_hold_the_values(
    low: float, high: float, expected: list[float]
) -> None:
    """Steps of 1, 2 or 5 times a power of ten."""
    assert ticks(low, high) == expected


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_any_range_has_a_few_ticks_that_hold_it(low: float, width: float) -> None:
    """Never none, never a crowd."""
    found = ticks(low, low + width)
    assert 2 <= len(found) <= 9
    slack = 1e-6 * max(1.0, width, abs(low))
    assert found[0] <= low + slack
    assert found[-1] >= low + width - slack


def test_log_ticks_hold_the_values() -> None:
    """From 0.45 to 8.4 that is 0.2 to 10."""
    assert log_ticks(0.45, 8.4) == [0.2, 0.5, 1.0, 2.0, 5.0, 10.0]
    assert log_ticks(0.5, 10.0) == [0.5, 1.0, 2.0, 5.0, 10.0]


def test_places_run_from_start_to_end() -> None:
    """On a log scale the geometric middle is in the middle."""
    straight = Scale(low=0.0, high=10.0, start=100.0, end=0.0)
    assert [straight.place(value) for value in (0.0, 5.0, 10.0)] == [100.0, 50.0, 0.0]
    log = Scale(low=1.0, high=100.0, start=0.0, end=200.0, log=True)
    assert log.place(10.0) == pytest.approx(100.0)


def test_long_lines_are_means_of_neighbours() -> None:
    """Four points on two: each the mean of its pair."""
    points = ((1.0, 4.0), (2.0, 2.0), (3.0, 1.0), (4.0, 0.0))
    assert thinned(points, 2) == ((1.5, 3.0), (3.5, 0.5))
    assert thinned(points, 4) == points
