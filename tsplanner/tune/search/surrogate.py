"""What a few noisy trials say about the best learning rate and rank: Bayes on a small grid.

Held-out loss as a function of the decimal logarithm x of the learning rate is a valley:
``loss = a + s (g(x - x0) + r q)``, where ``g`` rises like a hyperbola to the left of the best rate
x0 and k times as steeply to the right, and q doublings of rank below the largest cost r each. How
far x0 lies from the prior's rate, how deep valleys are and how they lean is learnt from a public
sweep (35 models); depth and noise are left wide, because datasets differ in them. All unknowns but
a lie on a grid, and a is integrated out. A winner that is only lucky is so shrunk towards the
prior, and the cliff above the best rate counts as what it costs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BEND = 0.3
"""Decades from the best rate after which the valley's wall is nearly straight."""
MISFIT = 0.1
"""Real valleys leave the shape by so much of their height, one standard deviation."""
OFFSETS = np.linspace(-1.2, 1.2, 33)
LEANS = np.array([1.0, 2.5, 6.0])
NOISES = np.geomspace(0.01, 1.0, 6)
NOISE_MEDIAN, NOISE_SPREAD = 0.1, 1.2
"""A trial's own noise as a share of the scale; between 0.01 and 1 of it anything may be."""
SCALES = np.geomspace(0.002, 5.0, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What other models' sweeps say before the first trial."""

    offset_mean: float
    """Of the decimal logarithm of best rate over the prior's."""
    offset_spread: float
    scale_median: float
    """Rise of the held-out loss one decade below the best rate, nats."""
    scale_spread: float
    """Standard deviation of its natural logarithm."""
    lean_median: float
    """How much steeper the side of the higher rates is."""
    lean_spread: float
    rank_mean: float
    """Loss that halving the rank costs, as a share of the scale."""
    rank_spread: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A place in the search space, relative to the prior."""

    decades: float
    """Decimal logarithm of the learning rate over the prior's."""
    halvings: float = 0.0
    """How often the rank was halved from the largest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One result."""

    point: Point
    loss: float
    error: float = 0.0
    """Standard deviation of what is not the trial's own noise: of a trial that was cut short."""


def valley(offset: Any, lean: Any) -> Any:
    """Loss over the best, in units of the rise one decade below it."""
    wall = np.sqrt(1.0 + np.square(offset / BEND)) - 1.0
    return np.where(offset > 0, lean, 1.0) * wall / (math.sqrt(1.0 + BEND**-2) - 1.0)


class Belief:
    """The posterior after some results; ``seen`` may be empty."""

    def __init__(self, evidence: Evidence, seen: Sequence[Seen] = ()) -> None:
        ranks = evidence.rank_mean + evidence.rank_spread * np.array([-1.2, 0.0, 1.2])
        mesh = np.meshgrid(OFFSETS, SCALES, LEANS, ranks, NOISES, indexing="ij")
        self.offset, self.scale, self.lean, self.rank, share = (axis.ravel() for axis in mesh)
        self.noise = share * self.scale
        self._weights = _prior(evidence, self.offset, self.scale, self.lean, share)
        keep = self._weights > self._weights.max() - 12.0
        self._narrow(keep)
        # Sums for the weighted mean that integrates the level out.
        self._precision = np.zeros_like(self.offset)
        self._level = np.zeros_like(self.offset)
        for one in seen:
            self._add(one)
        self._narrow(self._weights > self._weights.max() - 9.0)

    def _narrow(self, keep: Any) -> None:
        names = ("offset", "scale", "lean", "rank", "noise", "_weights", "_precision", "_level")
        for name in names:
            if hasattr(self, name):
                setattr(self, name, getattr(self, name)[keep])

    def _height(self, point: Point) -> Any:
        """Loss over the best of all, in each cell of the grid."""
        shape = valley(point.decades - self.offset, self.lean) + self.rank * point.halvings
        return self.scale * shape

    def _variance(self, height: Any, error: float) -> Any:
        return np.square(self.noise) + np.square(MISFIT * height) + error**2

    def _add(self, one: Seen) -> None:
        height = self._height(one.point)
        variance = self._variance(height, one.error)
        value = one.loss - height
        first = self._precision == 0
        spread = variance + np.where(first, 0.0, 1.0 / np.where(first, 1.0, self._precision))
        density = -0.5 * (np.square(value - self._level) / spread + np.log(spread))
        self._weights = self._weights + np.where(first, 0.0, density)
        total = self._precision + 1.0 / variance
        self._level = (self._precision * self._level + value / variance) / total
        self._precision = total

    def add_difference(self, one: Point, other: Point, difference: float, error: float) -> None:
        """A pair of trials on a seed of their own: only their difference is comparable."""
        heights = self._height(one), self._height(other)
        variance = self._variance(heights[0], 0.0) + self._variance(heights[1], error)
        value = difference - (heights[0] - heights[1])
        self._weights = self._weights - 0.5 * (np.square(value) / variance + np.log(variance))

    @property
    def shares(self) -> Any:
        """Posterior probability of each cell."""
        weights = np.exp(self._weights - self._weights.max())
        return weights / weights.sum()

    def risks(self, points: Sequence[Point]) -> Any:
        """Expected loss over the best, nats, at each point."""
        return np.array([self._height(point) for point in points]) @ self.shares

    def chance_better(self, one: Point, other: Point) -> float:
        """Probability that ``one`` has the lower loss."""
        return float(self.shares @ (self._height(one) < self._height(other)))

    def noise_expected(self) -> float:
        """Standard deviation of a trial's own noise, nats."""
        return math.sqrt(float(self.shares @ np.square(self.noise)))


def _prior(evidence: Evidence, offset: Any, scale: Any, lean: Any, share: Any) -> Any:
    """Logarithm of each cell's prior probability."""
    scores = (
        (offset - evidence.offset_mean) / evidence.offset_spread,
        np.log(scale / evidence.scale_median) / evidence.scale_spread,
        np.log(lean / evidence.lean_median) / evidence.lean_spread,
        np.log(share / NOISE_MEDIAN) / NOISE_SPREAD,
    )
    total: Any = -0.5 * sum(np.square(score) for score in scores)
    return total
