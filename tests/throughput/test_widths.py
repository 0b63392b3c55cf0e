"""Widths of padded micro-batches, worked out by hand."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsplanner.throughput.widths import different_widths, length_at, usual_widths


def test_lengths_lie_on_straight_lines_between_quantiles() -> None:
    """A quarter of the rows is at most 50 long, half at most 100, all at most 300."""
    assert length_at((0, 100, 300), 0.25) == 50
    assert length_at((0, 100, 300), 0.5) == 100
    assert length_at((0, 100, 300), 0.75) == 200
    assert length_at((64,), 0.3) == 64


def test_usual_widths_are_the_middles_of_fifths_padded_to_eight() -> None:
    """Rows up to 1,000: 100, 300, 500, 700 and 900; the longest of two rows goes by the root."""
    assert usual_widths((0, 1000), 1) == (104, 304, 504, 704, 904)
    # sqrt(0.1), sqrt(0.3), ... of 1,000: 316.2, 547.7, 707.1, 836.7, 948.7.
    assert usual_widths((0, 1000), 2) == (320, 552, 712, 840, 952)
    assert usual_widths((512, 512), 4) == (512,)


@pytest.mark.parametrize(
    ("quantiles", "draws", "micro_batches", "number"),
    [
        ((100, 100), 1, 50, 1.0),
        ((1, 16), 1, 0, 0.0),
        # Widths 8 and 16 with 7/15 and 8/15 of the rows: two micro-batches meet
        # 2 - (8/15)^2 - (7/15)^2 widths.
        ((1, 16), 1, 2, 2 - (8 / 15) ** 2 - (7 / 15) ** 2),
    ],
)
def test_the_number_of_different_widths_is_expected_by_their_shares(
    quantiles: tuple[int, ...], draws: int, micro_batches: int, number: float
) -> None:
    """One width costs once, however often it comes."""
    assert different_widths(quantiles, draws, micro_batches) == pytest.approx(number)


def test_the_number_of_different_widths_agrees_with_a_draw() -> None:
    """500 draws of 40 micro-batches of 3 rows between 24 and 2,000 positions."""
    draw = random.Random(1)
    counts = [
        len({-(-max(round(draw.uniform(24, 2000)) for _ in range(3)) // 8) * 8 for _ in range(40)})
        for _ in range(500)
    ]
    assert different_widths((24, 2000), 3, 40) == pytest.approx(sum(counts) / 500, rel=0.02)


@given(
    st.lists(st.integers(1, 4000), min_size=1, max_size=21),
    st.integers(1, 16),
    st.integers(1, 200),
)
def test_there_are_never_more_widths_than_micro_batches(
    lengths: list[int], draws: int, micro_batches: int
) -> None:
    """And at least one."""
    quantiles = tuple(sorted(lengths))
    found = different_widths(quantiles, draws, micro_batches)
    assert 0.99 <= found <= micro_batches + 1e-6
    widths = usual_widths(quantiles, draws)
    assert widths == tuple(sorted(widths))
    assert widths[-1] <= quantiles[-1]
