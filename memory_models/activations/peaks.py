"""Levels of memory that may be the peak, as linear functions of a step's tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from memory_models.symbolic import ZERO, Size


class Peaks(NamedTuple):
    """Pareto maxima of the levels: no size here is below another one in all three parts."""

    sizes: tuple[Size, ...]

    def bytes(self, tokens: int, units: int) -> int:
        """The peak in bytes for numbers of tokens and of the third unit (see ``Size``)."""
        return max(
            [
                per_token * tokens + constant + per_unit * units
                for per_token, constant, per_unit in self.sizes
            ]
        )


def pareto_peaks(levels: Iterable[Size]) -> Peaks:
    """The levels that no other level exceeds or equals in every part."""
    kept: list[Size] = []
    # In descending order of bytes per token, only an earlier level can exceed a later one.
    for level in sorted(set(levels), reverse=True):
        for above in kept:
            if above.constant >= level.constant and above.per_unit >= level.per_unit:
                break
        else:
            kept.append(level)
    return Peaks(tuple(kept) or (ZERO,))
