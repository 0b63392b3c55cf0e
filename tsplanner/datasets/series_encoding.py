"""The encoding of series by ChatTS: numbers for its encoder, text for its decoder. Pure Python.

Source: the value-preserving ("sp") encoding published with ChatTS
(August 2025 and later, patch size 8); older releases print a shorter prefix.
"""

from __future__ import annotations

import math

from memory_models.architecture import TimeSeriesEncoder
from memory_models.frozen import frozen
from tsplanner.datasets.records import Conversation

NORMALISED_LIMIT = 3.0
"""Largest distance from the mean after normalisation; a series within it keeps its scale."""


@frozen
class SeriesFigures:
    """Figures that the normalisation removes from a series and the prefix states in text."""

    points: int
    mean: float
    scale: float
    """1, or a third of the largest distance from the mean."""
    largest: float
    smallest: float
    first: float
    last: float


def series_figures(series: tuple[float, ...]) -> SeriesFigures:
    """Figures of a series that is not empty; `math.fsum` makes the sum exact in any order.

    The value that is furthest from the mean is the largest or the smallest value, because rounding
    keeps the order of differences.
    """
    mean = math.fsum(series) / len(series)
    largest, smallest = max(series), min(series)
    furthest = max(largest - mean, mean - smallest)
    return SeriesFigures(
        points=len(series),
        mean=mean,
        scale=furthest / NORMALISED_LIMIT if furthest >= NORMALISED_LIMIT else 1.0,
        largest=largest,
        smallest=smallest,
        first=series[0],
        last=series[-1],
    )


def normalised_series(series: tuple[float, ...]) -> tuple[float, ...]:
    """The values of (value - mean) / scale, each at most 3 from zero."""
    figures = series_figures(series)
    return tuple((value - figures.mean) / figures.scale for value in series)


def series_prefix(series: tuple[float, ...]) -> str:
    """The text before a placeholder, with the figures that the normalisation removes.

    ``offset`` is minus the mean.
    """
    found = series_figures(series)
    return (
        f"[offset={-found.mean:.4f}|scaling={found.scale:.4f}|length={found.points}"
        f"|max={found.largest:.4f}|min={found.smallest:.4f}"
        f"|left={found.first:.4f}|right={found.last:.4f}]"
    )


def series_positions(row: Conversation, encoder: TimeSeriesEncoder) -> int:
    """Decoder positions that the series add to the text: sum of (patches - 2).

    Each pair ``<ts><ts/>``, two tokens of text, is replaced by the patches of its series.
    """
    return sum(encoder.patches(len(series)) - 2 for series in row.timeseries)
