"""How long the samples of a dataset are, in tokens and in decoder positions.

T is the tokens of a row's text, S its decoder positions: S = T + sum over series (patches - 2).
``cutoff_len`` is compared with T alone, as ChatTS's own trainer does.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import field
from itertools import accumulate

from memory_models.frozen import frozen
from tsplanner.datasets.lengths.tally import padded_tokens
from tsplanner.datasets.records import DroppedKind, DroppedRow, LengthBin, RowContent

QUANTILES = 33
"""Lengths that a plan keeps of a dataset: 32 even steps from the shortest row to the longest."""

BINS = 16
"""Bars of the histogram that a plan shows."""


@frozen
class Longest:
    """The largest lengths of the kept rows, by several measures; each may be of another row."""

    longest: int
    """Positions of the longest row, without padding."""
    longest_padded: int
    """Positions of the longest row with its text padded to a multiple of 8."""
    longest_text: int
    """Text tokens of the row that has the most of them."""
    most_series_positions: int
    """Largest sum over a row's series of (patches - 2); 0 for text."""
    most_patches: int = 0
    """Largest sum over a row's series of the number of patches."""


@frozen
class LengthStats:
    """Lengths of the kept rows. Positions are those of the decoder, tokens are text only."""

    rows_total: int
    rows_kept: int
    dropped: tuple[DroppedRow, ...] = field(default=())
    """The first rows that were dropped, in file order."""
    dropped_kinds: tuple[DroppedKind, ...] = field(default=())
    """All rows that were dropped, counted by fault."""
    most: Longest
    mean: float
    """Positions of the mean row."""
    mean_text: float = 0.0
    """Text tokens of the mean row; the rest of ``mean`` are patches."""
    lengths: Mapping[int, int]
    """Number of rows for each number of positions."""
    padded_lengths: Mapping[int, int]
    """Number of rows for each number of positions, the text padded to a multiple of 8."""
    counted_by: str
    """``tokenizer`` or ``estimate``."""
    content: RowContent = RowContent()


def longest_batch_length(stats: LengthStats, micro_batch_size: int) -> int:
    """Decoder positions of the longest batch that ``micro_batch_size`` rows can make.

    In a batch of several rows the longest text and the most patches may come from different rows;
    the collator pads the text first, so both lengths count.
    """
    if micro_batch_size == 1:
        return stats.most.longest_padded
    return padded_tokens(stats.most.longest_text) + stats.most.most_series_positions


def length_quantiles(stats: LengthStats, count: int = QUANTILES) -> tuple[int, ...]:
    """Padded positions at evenly spaced shares of the rows, from the shortest to the longest."""
    ordered = _Ordered(stats.padded_lengths)
    last = ordered.rows - 1
    return tuple(ordered.between(last * step / (count - 1)) for step in range(count))


class _Ordered:
    """Rows by length, as if they lay in one ascending list."""

    def __init__(self, counts: Mapping[int, int]) -> None:
        self._lengths = sorted(counts)
        self._rows_to = list(accumulate(counts[length] for length in self._lengths))
        self.rows = self._rows_to[-1]

    def at(self, row: int) -> int:
        """Length of a row by its place in ascending order, counted from 0."""
        return self._lengths[bisect_right(self._rows_to, row)]

    def between(self, place: float) -> int:
        """Length at a fractional place, interpolated between the two rows around it."""
        below = int(place)
        low, high = self.at(below), self.at(min(below + 1, self.rows - 1))
        return round(low + (place - below) * (high - low))


def length_histogram(counts: Mapping[int, int], bins: int = BINS) -> tuple[LengthBin, ...]:
    """Bars of equal width over all lengths, shortest first; at most ``bins`` bars."""
    shortest, longest = min(counts), max(counts)
    width = -(-(longest - shortest + 1) // bins)
    rows = [0] * -(-(longest - shortest + 1) // width)
    for length, found in counts.items():
        rows[(length - shortest) // width] += found
    return tuple(
        LengthBin(
            shortest=shortest + number * width,
            longest=min(shortest + (number + 1) * width - 1, longest),
            rows=found,
        )
        for number, found in enumerate(rows)
    )
