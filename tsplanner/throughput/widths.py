"""Widths of padded micro-batches whose rows are of unequal length. Pure.

A micro-batch is as wide as its longest row, so its width is the largest of some draws from the
lengths of the dataset. The lengths come as quantiles at equal steps and are taken as straight lines
between them.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil

from memory_models.units import round_up

PAD_MULTIPLE = 8
"""Text of a micro-batch is padded to a multiple of this many tokens (datasets/lengths/tally.py)."""
POINTS = 5
"""Widths that stand for all widths of a run. With 25 the seconds of the measured runs change by
less than 1 %."""


def length_at(quantiles: tuple[int, ...], share: float) -> float:
    """Length below which ``share`` of the rows lies, in positions."""
    pieces = len(quantiles) - 1
    if pieces == 0:
        return float(quantiles[0])
    piece = min(pieces - 1, int(share * pieces))
    low, high = quantiles[piece], quantiles[piece + 1]
    return low + (high - low) * (share * pieces - piece)


@lru_cache(maxsize=4096)
def usual_widths(quantiles: tuple[int, ...], draws: int) -> tuple[int, ...]:
    """Equally likely widths of micro-batches of ``draws`` rows, narrow ones first, in positions.

    The share u of the micro-batches is narrower than Q(u^(1/draws)), where Q gives the quantiles.
    """
    if quantiles[0] == quantiles[-1]:
        return (quantiles[-1],)
    shares = [(point + 0.5) / POINTS for point in range(POINTS)]
    lengths = [length_at(quantiles, share ** (1 / draws)) for share in shares]
    return tuple(min(quantiles[-1], round_up(ceil(length), PAD_MULTIPLE)) for length in lengths)


@lru_cache(maxsize=4096)
def different_widths(quantiles: tuple[int, ...], draws: int, micro_batches: int) -> float:
    """Expected number of different widths among micro-batches of ``draws`` rows.

    Width w occurs among m micro-batches with probability 1 - (1 - p)^m, where p is the share of
    micro-batches of this width: F(w)^draws - F(w - 8)^draws with F the share of rows up to w.
    """
    if micro_batches < 1:
        return 0.0
    if quantiles[0] == quantiles[-1]:
        return 1.0
    found, below = 0.0, 0.0
    for width in range(round_up(max(1, quantiles[0]), PAD_MULTIPLE), quantiles[-1] + 8, 8):
        upto = _share_up_to(quantiles, width) ** draws
        found += 1 - (1 - min(1.0, upto - below)) ** micro_batches
        below = upto
    return found


def _share_up_to(quantiles: tuple[int, ...], length: int) -> float:
    """Share of rows that are at most ``length`` long: the inverse of `length_at`."""
    pieces = len(quantiles) - 1
    if length >= quantiles[-1]:
        return 1.0
    if length < quantiles[0]:
        return 0.0
    piece = max(number for number in range(pieces) if quantiles[number] <= length)
    low, high = quantiles[piece], quantiles[piece + 1]
    return (piece + (length - low) / max(1, high - low)) / pieces
