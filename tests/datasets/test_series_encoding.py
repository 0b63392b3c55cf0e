"""How series become numbers and words."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_models.architecture import TimeSeriesEncoder
from tests.support.rows import conversation
from tsplanner.datasets.series_encoding import (
    normalised_series,
    series_figures,
    series_positions,
    series_prefix,
)


def test_normalised_series_within_three_of_the_mean_keeps_its_scale():
    """A series that stays within 3 of its mean is only shifted."""
    assert normalised_series((1.0, 2.0, 3.0)) == (-1.0, 0.0, 1.0)

    figures = series_figures((1.0, 2.0, 3.0))
    assert (figures.points, figures.mean, figures.scale) == (3, 2.0, 1.0)
    assert (figures.largest, figures.smallest) == (3.0, 1.0)
    assert (figures.first, figures.last) == (1.0, 3.0)


def test_normalised_series_beyond_three_of_the_mean_is_scaled_to_three():
    """A wider series is divided so that its furthest value lies 3 from the mean."""
    assert normalised_series((0.0, 10.0, 20.0)) == pytest.approx((-3.0, 0.0, 3.0))
    assert series_figures((0.0, 10.0, 20.0)).scale == pytest.approx(3.3333333)


def test_normalised_series_exactly_three_from_the_mean_is_already_scaled():
    """At a distance of exactly 3 the scale is 1, with or without scaling."""
    assert series_figures((-3.0, 3.0)).scale == 1.0


VALUES = st.floats(min_value=-1e100, max_value=1e100) | st.integers(-99, 99).map(float)


@given(series=st.lists(VALUES, min_size=1, max_size=40).map(tuple))
def test_scale_by_the_two_extremes_is_the_scale_by_every_value(series):
    """Looking at the largest and the smallest value alone gives the same bits as the definition."""
    mean = math.fsum(series) / len(series)
    furthest = max(abs(value - mean) for value in series)
    scale = furthest / 3 if furthest >= 3 else 1.0

    assert series_figures(series).scale == scale
    assert normalised_series(series) == tuple((value - mean) / scale for value in series)


def test_series_prefix_prints_minus_the_mean_and_four_decimals():
    """The prefix gives back what the normalisation takes away."""
    prefix = series_prefix((0.0, 10.0, 20.0))

    assert prefix == (
        "[offset=-10.0000|scaling=3.3333|length=3|max=20.0000|min=0.0000|left=0.0000|right=20.0000]"
    )


def test_series_prefix_of_a_negative_mean_prints_a_positive_offset():
    """The offset is what to add to the mean to reach zero."""
    assert series_prefix((-5.0, -5.0)).startswith("[offset=5.0000|scaling=1.0000|length=2|")


@pytest.mark.parametrize(("points", "added"), [(1, -1), (8, -1), (9, 0), (256, 30), (5000, 623)])
def test_series_positions_replaces_two_tokens_by_the_patches(points, added):
    """A series of N points adds ceil(N / 8) - 2 positions to its text."""
    encoder = TimeSeriesEncoder(patch_size=8, num_layers=5, hidden_size=64)
    row = conversation("<ts><ts/>", "", ((0.0,) * points,))

    assert added == series_positions(row, encoder)
