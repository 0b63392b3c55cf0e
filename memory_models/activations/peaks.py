"""Moments at which bytes may peak, as linear functions of a step's tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from memory_models.activations.tape import ZERO, Size


class Moments(NamedTuple):
    """Sizes of which the largest is a peak: none of them is below another in all three units."""

    sizes: tuple[Size, ...]

    def bytes(self, tokens: int, third: int) -> int:
        """The peak for a number of tokens and of the third unit."""
        return max([a * tokens + b + c * third for a, b, c in self.sizes])


def moments(levels: Iterable[Size]) -> Moments:
    """Leave out levels that another one is above in every unit."""
    kept: list[Size] = []
    for level in sorted(set(levels), reverse=True):
        _, fixed, third = level
        for above in kept:
            if above[1] >= fixed and above[2] >= third:
                break
        else:
            kept.append(level)
    return Moments(tuple(kept) or (ZERO,))
