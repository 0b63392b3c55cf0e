"""Axes of charts: round ticks, positions, and fewer points where there are too many. Pure."""

from __future__ import annotations

import math

from memory_models.frozen import frozen
from tsplanner.report.text import number

LOG_FROM = 4.0
"""A highest value of this many times the lowest gets a logarithmic scale: the low end matters."""


@frozen
class Scale:
    """A map from values to places on a page, linear or logarithmic."""

    low: float
    high: float
    start: float
    """Place of ``low``."""
    end: float
    """Place of ``high``."""
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value is drawn."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        share = (value - low) / (high - low)
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """At most ``count`` + 2 round values, 1, 2 or 5 times a power of ten apart, around both."""
    if not high > low:
        high = low + (abs(low) or 1.0)
    rough = high / count - low / count  # the difference itself may be above every number
    power = 10.0 ** math.floor(math.log10(rough))
    # Quotients of round decimals come out a little over or under a whole number, hence the
    # tolerances: without them there would be an empty interval at an end.
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten around both values, which are above 0."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    steps = [round(factor * 10.0**power, 12) for power in powers for factor in (1, 2, 5)]
    first = max(index for index, step in enumerate(steps) if step <= low * (1 + 1e-9))
    last = min(index for index, step in enumerate(steps) if step >= high * (1 - 1e-9))
    return steps[first : last + 1]


def tick_text(value: float) -> str:
    """A tick as people read it."""
    return number(value)


def thinned(points: tuple[tuple[float, float], ...], most: int) -> tuple[tuple[float, float], ...]:
    """At most ``most`` points: means of neighbors where there are more."""
    if len(points) <= most:
        return points
    size = math.ceil(len(points) / most)
    groups = (points[index : index + size] for index in range(0, len(points), size))
    return tuple(
        (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group))
        for group in groups
    )
