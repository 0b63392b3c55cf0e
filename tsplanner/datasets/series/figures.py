"""What a series is said to do: its largest and smallest value, where they lie, its trend. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

from memory_models.frozen import frozen

FLAT = 0.5
"""Standard deviations by which the last fifth of a series must differ from the first for a trend.
The sample dataset's answers follow the same rule."""


class Trend(StrEnum):
    """Where a series goes from its first fifth to its last."""

    RISING = "rising"
    FALLING = "falling"
    FLAT = "flat"


@frozen
class Figures:
    """Figures of one series; places count from 1."""

    largest: float
    largest_at: int
    """Place of the first largest value."""
    smallest: float
    smallest_at: int
    mean: float
    first: float
    last: float
    trend: Trend


def figures(series: Sequence[float]) -> Figures:
    """Figures of a series that is not empty."""
    largest, smallest = max(series), min(series)
    return Figures(
        largest=largest,
        largest_at=series.index(largest) + 1,
        smallest=smallest,
        smallest_at=series.index(smallest) + 1,
        mean=math.fsum(series) / len(series),
        first=series[0],
        last=series[-1],
        trend=trend(series),
    )


def trend(series: Sequence[float]) -> Trend:
    """Mean of the last fifth minus mean of the first, in standard deviations of the series."""
    mean = math.fsum(series) / len(series)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in series) / len(series))
    fifth = max(1, len(series) // 5)
    moved = (math.fsum(series[-fifth:]) - math.fsum(series[:fifth])) / fifth
    if abs(moved) < FLAT * deviation or deviation == 0:
        return Trend.FLAT
    return Trend.RISING if moved > 0 else Trend.FALLING
