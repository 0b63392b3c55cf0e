"""Points of a curve from the lines of metrics.jsonl."""

from __future__ import annotations

Points = tuple[tuple[float, float], ...]
"""(step, value) in order of the steps."""

LARGEST_DRAWN = 1e30
"""No loss is as large; differences of larger figures may be infinite."""


def points(lines: list[dict[str, object]], key: str) -> Points:
    """(step, value) of every line that has a step and a value that can be drawn."""
    return tuple(
        (float(step), float(value))
        for line in lines
        if isinstance(step := line.get("step"), int | float)
        and isinstance(value := line.get(key), int | float)
        # NaN fails these comparisons as well.
        and abs(step) < LARGEST_DRAWN
        and abs(value) < LARGEST_DRAWN
    )
