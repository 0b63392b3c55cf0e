"""Which settings to try next, which to confirm, and whether to trust them. Pure functions.

Trial 0 is the baseline, the next two stand on a ladder around it, then each trial goes where the
surrogate expects the lowest loss. A quarter of the trials is kept for the confirmation: pairs of
the candidate and the baseline on fresh seeds. Figures: benchmarks/tune/search_offline.py; reasons:
docs/decisions/0013-a-surrogate-instead-of-a-sampler.md.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from memory_models.frozen import frozen
from tsplanner.tune.search.points import Observation, Point, SurrogatePrior

if TYPE_CHECKING:  # it imports NumPy, which only a search has
    from tsplanner.tune.search.surrogate import Surrogate

STEP = math.log10(3) / 4
"""Decades between two learning rates that may be suggested."""
LADDER = (4, -4)
"""Steps from the baseline to trials 1 and 2: three times its rate, and a third of it."""
NORMAL_95 = 1.96
PROOF = 0.9
"""Chance of being better than the baseline that a candidate needs."""
MIN_CHANCE, SETTLED = 0.5, 0.97
"""Chance of being better that the first pair needs, and beyond which no further pair is run."""
RANK_TRIAL = 5
"""One of five trials of the search asks whether half the rank is enough."""
TRIALS_PER_PAIR = 4
"""A pair of the confirmation takes two trials, and half of all trials at most are for pairs."""

SWEEP = SurrogatePrior(
    offset_mean=0.05,
    offset_spread=0.40,
    scale_median=0.0153,
    scale_spread=2.0,
    lean_median=2.5,
    lean_spread=0.76,
    rank_mean=0.11,
    rank_spread=0.06,
)
"""Learnt from all models of the public sweep by benchmarks/tune/search_surfaces.py."""


@frozen
class Grid:
    """The points that may be suggested."""

    baseline: Point
    log10_lr_range: tuple[float, float]
    """Lowest and highest offset of the learning rate, decades."""
    log2_rank_offsets: tuple[float, ...] = (0.0,)
    """Offsets of the ranks that memory affords."""

    def points(self) -> list[Point]:
        """All points: steps from the baseline's rate, and the two ends of the range."""
        low, high = self.log10_lr_range
        centre = self.baseline.log10_lr_offset
        steps = range(math.ceil((low - centre) / STEP), math.floor((high - centre) / STEP) + 1)
        rates = {round(centre + step * STEP, 6) for step in steps} | {low, high}
        return [
            Point(log10_lr_offset=rate, log2_rank_offset=rank)
            for rank in self.log2_rank_offsets
            for rate in sorted(rates)
        ]

    def step(self, steps: int) -> Point:
        """The point ``steps`` steps from the baseline at the largest rank, inside the range."""
        low, high = self.log10_lr_range
        rate = self.baseline.log10_lr_offset + steps * STEP
        rank = max(self.log2_rank_offsets)
        return Point(log10_lr_offset=min(high, max(low, rate)), log2_rank_offset=rank)


@frozen
class Pair:
    """Candidate and baseline on one fresh seed."""

    difference: float
    """Held-out loss of the candidate minus that of the baseline, nats per token."""
    error: float = 0.0
    """Standard error of the difference, from its spread over the held-out examples."""


def pairs_of(trials: int) -> int:
    """Pairs of the confirmation that a budget of ``trials`` trials has room for."""
    return trials // TRIALS_PER_PAIR


def suggest(
    seen: Sequence[Observation],
    pending: Sequence[Point],
    grid: Grid,
    prior: SurrogatePrior = SWEEP,
) -> Point:
    """The next trial of the search; ``pending`` points are under way, or were rejected."""
    tried = [*(one.point for one in seen), *pending]
    for first in (grid.baseline, *(grid.step(steps) for steps in LADDER)):
        if not _among(first, tried):
            return first
    surrogate = _surrogate(prior, seen)
    # A narrow range may have fewer points than there are trials: then points are run again.
    free = [point for point in grid.points() if not _among(point, tried)] or grid.points()
    if len(tried) % RANK_TRIAL == 0:
        best = _lowest(surrogate, grid.points())
        halved = [point for point in free if _halves_the_rank(point, best)]
        free = halved or free
    return _lowest(surrogate, free)


def candidate(seen: Sequence[Observation], grid: Grid, prior: SurrogatePrior = SWEEP) -> Point:
    """The point that is expected to be best, tried or not; the baseline wins ties."""
    # `argmin` takes the first of equal risks, so the baseline must stand in front.
    return _lowest(_surrogate(prior, seen), [grid.baseline, *grid.points()])


def chance(
    seen: Sequence[Observation],
    pairs: Sequence[Pair],
    one: Point,
    baseline: Point,
    prior: SurrogatePrior = SWEEP,
) -> float:
    """Probability that ``one`` beats the baseline, by all trials and the confirmation's pairs."""
    return _after(seen, pairs, one, baseline, prior).chance_better(one, baseline)


def noise(
    seen: Sequence[Observation],
    pairs: Sequence[Pair],
    one: Point,
    baseline: Point,
    prior: SurrogatePrior = SWEEP,
) -> float:
    """Standard deviation of a trial's loss between seeds, nats per token."""
    return _after(seen, pairs, one, baseline, prior).noise_expected()


def interval(pairs: Sequence[Pair], noise_between_seeds: float) -> tuple[float, float]:
    """Mean difference of the pairs, and half the width of its 95 % interval.

    The error has two parts: that of the held-out examples, and the noise of two trials between
    seeds, taken from the surrogate after all trials (`noise`), for one or two pairs cannot tell
    their own.
    """
    examples = statistics.fmean(pair.error**2 for pair in pairs)
    half = NORMAL_95 * math.sqrt((examples + 2 * noise_between_seeds**2) / len(pairs))
    return statistics.fmean(pair.difference for pair in pairs), half


def another_pair_pays(chance_better: float, pairs: Sequence[Pair]) -> bool:
    """Whether another pair is worth its two trials; a winner has at least one pair."""
    if not pairs:
        return chance_better > MIN_CHANCE
    return candidate_leads(pairs) and chance_better < SETTLED


def candidate_leads(pairs: Sequence[Pair]) -> bool:
    """Whether the candidate was better on the fresh seeds, all of them taken together."""
    return sum(pair.difference for pair in pairs) < 0


def proven(chance_better: float, pairs: Sequence[Pair]) -> bool:
    """Whether the candidate replaces the baseline: by all trials, and proven on fresh seeds.

    The surrogate alone would take a large difference in the search for proof, or forgive a pair
    that is lost by a little; but that difference was chosen for being large.
    """
    return bool(pairs) and chance_better > PROOF and candidate_leads(pairs)


def _after(
    seen: Sequence[Observation],
    pairs: Sequence[Pair],
    one: Point,
    baseline: Point,
    prior: SurrogatePrior,
) -> Surrogate:
    surrogate = _surrogate(prior, seen)
    for pair in pairs:
        surrogate.add_difference(one, baseline, pair.difference, pair.error)
    return surrogate


def _surrogate(prior: SurrogatePrior, seen: Sequence[Observation]) -> Surrogate:
    from tsplanner.tune.search.surrogate import Surrogate

    return Surrogate(prior, seen)


def _lowest(surrogate: Surrogate, points: Sequence[Point]) -> Point:
    return points[int(surrogate.risks(points).argmin())]


def _halves_the_rank(point: Point, best: Point) -> bool:
    return point.log2_rank_offset == best.log2_rank_offset - 1 and _near(point, best)


def _near(one: Point, other: Point) -> bool:
    # Rates are rounded on the way to settings and back, so the same point differs by a little.
    return abs(one.log10_lr_offset - other.log10_lr_offset) < STEP / 4


def _among(point: Point, tried: Sequence[Point]) -> bool:
    return any(
        _near(point, other) and point.log2_rank_offset == other.log2_rank_offset for other in tried
    )
