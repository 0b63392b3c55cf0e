"""Which rows are held out: the same ones in our worker and in every export."""

from __future__ import annotations

import random


def held_out_count(rows: int, fraction: float) -> int:
    """Number of held-out rows: the nearest whole number, at least one, but never all rows."""
    if fraction <= 0 or rows < 2:
        return 0
    # `round` would take a half to the even number.
    return min(rows - 1, max(1, int(rows * fraction + 0.5)))


def held_out_places(rows: int, fraction: float, seed: int) -> frozenset[int]:
    """Places of the held-out rows among the kept ones, counted from 0; only the seed draws them."""
    count = held_out_count(rows, fraction)
    return frozenset(random.Random(seed).sample(range(rows), count))
