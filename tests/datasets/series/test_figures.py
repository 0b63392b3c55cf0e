"""Figures of a series, worked out by hand."""

from __future__ import annotations

import pytest

from tsplanner.datasets.series.figures import Trend, figures, trend


def test_figures_state_the_first_of_equal_values_and_count_places_from_1() -> None:
    """2 + 7 + 7 - 4 = 12, of four points."""
    found = figures((2.0, 7.0, 7.0, -4.0))
    assert (found.largest, found.largest_at) == (7.0, 2)
    assert (found.smallest, found.smallest_at) == (-4.0, 4)
    assert (found.mean, found.first, found.last) == (3.0, 2.0, -4.0)


@pytest.mark.parametrize(
    ("series", "found"),
    [
        (tuple(range(10)), Trend.RISING),
        (tuple(range(10, 0, -1)), Trend.FALLING),
        ((5.0,) * 10, Trend.FLAT),
        # Ends (0 and 1) differ by 1; the deviation of the ten values is above 2: 1 < 0.5 x 2.6.
        ((0, 0, 5, 0, 5, 0, 5, 0, 1, 1), Trend.FLAT),
        ((3.0,), Trend.FLAT),
    ],
)
def test_a_trend_is_a_move_of_half_a_standard_deviation(
    series: tuple[float, ...], found: Trend
) -> None:
    """From the mean of the first fifth to the mean of the last."""
    assert trend(series) is found
