"""A Bayesian surrogate of the held-out loss over learning rate and LoRA rank, on a small grid.

Held-out loss as a function of the decimal logarithm x of the learning rate is a valley: ``loss = a
+ s (g(x - x0) + r q)``, where ``g`` rises like a hyperbola to the left of the best rate x0 and k
times as steeply to the right, and q halvings of the rank from the largest cost r each. How far x0
lies from the suggested rate, how deep valleys are and how they lean is learnt from a public sweep
of 35 models; the priors of depth and noise are wide, because datasets differ in both. All unknowns
but ``a`` lie on a grid, and ``a`` is integrated out. A trial that was only lucky is thereby shrunk
towards the baseline, and the cliff above the best rate counts as what it costs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tsplanner.tune.search.points import Observation, Point, SurrogatePrior

BEND = 0.3
"""Decades from the best rate after which the wall of the valley is nearly straight."""
MISFIT = 0.1
"""Standard deviation by which real valleys leave the shape, as a share of their height."""
OFFSETS = np.linspace(-1.2, 1.2, 33)
LEANS = np.array([1.0, 2.5, 6.0])
NOISES = np.geomspace(0.01, 1.0, 6)
NOISE_MEDIAN, NOISE_SPREAD = 0.1, 1.2
"""Prior of a trial's own noise as a share of the scale; values from 0.01 to 1 are on the grid."""
SCALES = np.geomspace(0.002, 5.0, 16)
RANK_COST_STEPS = np.array([-1.2, 0.0, 1.2])
"""Grid of the cost of a halved rank, in standard deviations of its prior."""
PRIOR_CUT, POSTERIOR_CUT = 12.0, 9.0
"""Cells whose logarithm of probability is this far below the highest are dropped."""


def valley(offset: Any, lean: Any) -> Any:
    """Loss over the best one, in units of the rise one decade below the best rate."""
    wall = np.sqrt(1.0 + np.square(offset / BEND)) - 1.0
    return np.where(offset > 0, lean, 1.0) * wall / (math.sqrt(1.0 + BEND**-2) - 1.0)


class Surrogate:
    """The posterior after some observations; there may be none."""

    def __init__(self, prior: SurrogatePrior, observations: Sequence[Observation] = ()) -> None:
        rank_costs = prior.rank_mean + prior.rank_spread * RANK_COST_STEPS
        mesh = np.meshgrid(OFFSETS, SCALES, LEANS, rank_costs, NOISES, indexing="ij")
        cells = np.stack([axis.ravel() for axis in mesh])
        weights = _log_prior(prior, *cells[[0, 1, 2, 4]])
        keep = weights > weights.max() - PRIOR_CUT
        self.offset, self.scale, self.lean, self.rank_cost, share = cells[:, keep]
        self.noise = share * self.scale
        self._weights = weights[keep]
        # The precision-weighted mean of the level integrates the level out.
        self._precision = np.zeros_like(self.offset)
        self._level = np.zeros_like(self.offset)
        for one in observations:
            self._add(one)
        self._drop_unlikely_cells()

    def _drop_unlikely_cells(self) -> None:
        keep = self._weights > self._weights.max() - POSTERIOR_CUT
        self.offset, self.scale, self.lean = self.offset[keep], self.scale[keep], self.lean[keep]
        self.rank_cost, self.noise = self.rank_cost[keep], self.noise[keep]
        self._weights = self._weights[keep]
        self._precision, self._level = self._precision[keep], self._level[keep]

    def _height(self, point: Point) -> Any:
        """Loss over the best of all points, in each cell of the grid."""
        shape = valley(point.log10_lr_offset - self.offset, self.lean)
        return self.scale * (shape - self.rank_cost * point.log2_rank_offset)

    def _variance(self, height: Any, error: float) -> Any:
        return np.square(self.noise) + np.square(MISFIT * height) + error**2

    def _add(self, one: Observation) -> None:
        height = self._height(one.point)
        variance = self._variance(height, one.error)
        value = one.loss - height
        # The first loss only places the level, which is not known beforehand: one result says
        # nothing of where the valley lies, so it moves no weights.
        first = self._precision == 0
        spread = variance + np.where(first, 0.0, 1.0 / np.where(first, 1.0, self._precision))
        density = -0.5 * (np.square(value - self._level) / spread + np.log(spread))
        self._weights = self._weights + np.where(first, 0.0, density)
        total = self._precision + 1.0 / variance
        self._level = (self._precision * self._level + value / variance) / total
        self._precision = total

    def add_difference(self, one: Point, other: Point, difference: float, error: float) -> None:
        """Add a pair of trials on a seed of its own, of which only the difference is comparable."""
        heights = self._height(one), self._height(other)
        # Each trial adds noise of its own; the error is that of the difference and counts once.
        variance = self._variance(heights[0], 0.0) + self._variance(heights[1], error)
        value = difference - (heights[0] - heights[1])
        self._weights = self._weights - 0.5 * (np.square(value) / variance + np.log(variance))

    @property
    def shares(self) -> Any:
        """Posterior probability of each cell."""
        weights = np.exp(self._weights - self._weights.max())
        return weights / weights.sum()

    def risks(self, points: Sequence[Point]) -> Any:
        """Expected loss over the best of all points, nats per token, at each given point."""
        return np.array([self._height(point) for point in points]) @ self.shares

    def chance_better(self, one: Point, other: Point) -> float:
        """Probability that ``one`` has the lower loss."""
        return float(self.shares @ (self._height(one) < self._height(other)))

    def noise_expected(self) -> float:
        """Standard deviation of a trial's own noise, nats per token."""
        return math.sqrt(float(self.shares @ np.square(self.noise)))


def _log_prior(prior: SurrogatePrior, offset: Any, scale: Any, lean: Any, share: Any) -> Any:
    """Logarithm of the prior probability of each cell."""
    scores = (
        (offset - prior.offset_mean) / prior.offset_spread,
        np.log(scale / prior.scale_median) / prior.scale_spread,
        np.log(lean / prior.lean_median) / prior.lean_spread,
        np.log(share / NOISE_MEDIAN) / NOISE_SPREAD,
    )
    total: Any = -0.5 * sum(np.square(score) for score in scores)
    return total
