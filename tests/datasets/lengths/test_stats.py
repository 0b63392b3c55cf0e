"""Figures of a dataset that a plan keeps: quantiles, histogram, longest batch."""

from __future__ import annotations

from memory_models.settings import from_flat
from tests.support.rows import UNLIMITED_ENCODER, series_row, written
from tsplanner.datasets.lengths.scan import length_stats
from tsplanner.datasets.lengths.stats import (
    LengthStats,
    length_histogram,
    length_quantiles,
    longest_batch_length,
)
from tsplanner.datasets.records import LengthBin


def stats_with(**changes: int) -> LengthStats:
    """Make statistics with a few figures changed."""
    figures = {"longest": 100, "longest_padded": 104, "longest_text": 90} | changes
    return from_flat(
        LengthStats,
        rows_total=2,
        rows_kept=2,
        mean=90.0,
        lengths={80: 1, 100: 1},
        padded_lengths={80: 1, 104: 1},
        counted_by="estimate",
        **figures,
    )


def test_quantiles_are_padded_lengths_at_even_shares_of_the_rows():
    """Rows of 80 and 104 positions: quarters of the way from one to the other."""
    assert length_quantiles(stats_with(most_series_positions=0), 5) == (80, 86, 92, 98, 104)
    assert len(length_quantiles(stats_with(most_series_positions=0))) == 33


def test_quantiles_pad_text_to_eights_and_patches_not(tmp_path):
    """Of one row: its text's next multiple of 8, and 8 positions of patches."""
    path = written(tmp_path, [series_row(80)])
    stats = length_stats(path, cutoff_len=400, encoder=UNLIMITED_ENCODER, tokenizer_folder=None)
    assert set(length_quantiles(stats)) == {-(-stats.most.longest_text // 8) * 8 + 8}


def test_histogram_has_bars_of_equal_width_that_hold_every_row():
    """Lengths 10 to 19 in three bars are four wide; the last ends at the longest row."""
    assert length_histogram({10: 2, 13: 1, 19: 4}, bins=3) == (
        LengthBin(shortest=10, longest=13, rows=3),
        LengthBin(shortest=14, longest=17, rows=0),
        LengthBin(shortest=18, longest=19, rows=4),
    )
    assert length_histogram({7: 5}) == (LengthBin(shortest=7, longest=7, rows=5),)


def test_longest_batch_of_one_row_is_the_longest_padded_row():
    """Alone, a row brings only its own patches."""
    assert longest_batch_length(stats_with(most_series_positions=30), 1) == 104


def test_longest_batch_of_several_rows_joins_two_maxima():
    """90 tokens are padded to 96, and another row may bring 30 positions of patches."""
    assert longest_batch_length(stats_with(most_series_positions=30), 2) == 126
