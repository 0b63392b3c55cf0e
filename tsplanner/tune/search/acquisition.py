"""Which settings to try next, which to put to the last word, and whether to believe them. Pure.

Trial 0 is the prior, the next two stand on a ladder around it, then each trial goes where the
belief expects the lowest loss. A quarter of the trials is kept for the last word: pairs of the
challenger and the default on fresh seeds. Figures: benchmarks/tune/search_offline.py; why so:
docs/decisions/0013-a-belief-instead-of-a-sampler.md.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tsplanner.tune.search.surrogate import Belief, Evidence, Point, Seen

STEP = math.log10(3) / 4
"""Decades between two rates that may be proposed."""
LADDER = (4, -4)
"""Steps from the default that trials 1 and 2 are at: three times its rate, and a third."""
NORMAL_95 = 1.96
PROOF = 0.9
"""Chance of being better than the default that a challenger needs."""
HOPELESS, SETTLED = 0.5, 0.97
"""Chance of being better that the first pair needs, and beyond which no further one is run."""
RANK_TRIAL = 5
"""Every so many trials of the search one asks whether half the rank is enough."""

SWEEP = Evidence(
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The points that may be proposed; decades are over the rate that the evidence is about."""

    default: Point
    decades: tuple[float, float]
    """Lowest and highest."""
    halvings: tuple[float, ...] = (0.0,)
    """Of the ranks on offer that memory affords."""

    def points(self) -> list[Point]:
        """All of them: steps from the default's rate, and the two ends."""
        low, high = self.decades
        centre = self.default.decades
        steps = range(math.ceil((low - centre) / STEP), math.floor((high - centre) / STEP) + 1)
        rates = {round(centre + step * STEP, 6) for step in steps} | {low, high}
        return [Point(decades=rate, halvings=h) for h in self.halvings for rate in sorted(rates)]

    def step(self, steps: int) -> Point:
        """So many steps from the default, inside the range."""
        low, high = self.decades
        rate = self.default.decades + steps * STEP
        return Point(decades=min(high, max(low, rate)), halvings=min(self.halvings))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Challenger and default on one fresh seed."""

    difference: float
    """Held-out loss of the challenger minus that of the default."""
    error: float = 0.0
    """Standard error of it, from its spread over the held-out rows."""


def pairs_of(trials: int) -> int:
    """Pairs of the last word that a budget of so many trials has room for."""
    return trials // 4


def next_point(
    seen: Sequence[Seen], pending: Sequence[Point], grid: Grid, evidence: Evidence = SWEEP
) -> Point:
    """The next trial of the search; ``pending`` are under way, or were refused."""
    tried = [*(one.point for one in seen), *pending]
    for wanted in (grid.default, *(grid.step(steps) for steps in LADDER)):
        if not _among(wanted, tried):
            return wanted
    belief = Belief(evidence, seen)
    free = [point for point in grid.points() if not _among(point, tried)] or grid.points()
    if len(tried) % RANK_TRIAL == 0:
        best = _lowest(belief, grid.points())
        halved = [p for p in free if p.halvings == best.halvings + 1 and _near(p, best)]
        free = halved or free
    return _lowest(belief, free)


def challenger(seen: Sequence[Seen], grid: Grid, evidence: Evidence = SWEEP) -> Point:
    """The settings expected to be best of all, tried or not; the default wins ties."""
    belief = Belief(evidence, seen)
    points = [grid.default, *grid.points()]
    return _lowest(belief, points)


def chance(
    seen: Sequence[Seen],
    pairs: Sequence[Pair],
    one: Point,
    default: Point,
    evidence: Evidence = SWEEP,
) -> float:
    """Probability that ``one`` beats the default, by all trials and the pairs of the last word."""
    return _after(seen, pairs, one, default, evidence).chance_better(one, default)


def noise(
    seen: Sequence[Seen],
    pairs: Sequence[Pair],
    one: Point,
    default: Point,
    evidence: Evidence = SWEEP,
) -> float:
    """Standard deviation of a trial's loss between seeds, nats."""
    return _after(seen, pairs, one, default, evidence).noise_expected()


def interval(pairs: Sequence[Pair], noise_between_seeds: float) -> tuple[float, float]:
    """Mean difference of the pairs, and half of its 95 % interval.

    The error has two parts: the held-out rows', and that of two trials' own noise between seeds,
    taken from the belief after all trials (`noise`), for one or two pairs cannot tell their own.
    """
    rows = statistics.fmean(pair.error**2 for pair in pairs)
    half = NORMAL_95 * math.sqrt((rows + 2 * noise_between_seeds**2) / len(pairs))
    return statistics.fmean(pair.difference for pair in pairs), half


def wanted(chance_better: float, pairs: Sequence[Pair]) -> bool:
    """Whether another pair is worth its two trials; a winner has at least one."""
    if not pairs:
        return chance_better > HOPELESS
    return won(pairs) and chance_better < SETTLED


def won(pairs: Sequence[Pair]) -> bool:
    """Whether the challenger was the better one on the fresh seeds, all taken together."""
    return sum(pair.difference for pair in pairs) < 0


def proven(chance_better: float, pairs: Sequence[Pair]) -> bool:
    """Whether the challenger replaces the default: by all trials, and not against the fresh ones.

    The belief alone would forgive a pair that is lost by a little if the search's own difference
    was large; that one was chosen for being large.
    """
    return chance_better > PROOF and (not pairs or won(pairs))


def _after(
    seen: Sequence[Seen], pairs: Sequence[Pair], one: Point, default: Point, evidence: Evidence
) -> Belief:
    belief = Belief(evidence, seen)
    for pair in pairs:
        belief.add_difference(one, default, pair.difference, pair.error)
    return belief


def _lowest(belief: Belief, points: Sequence[Point]) -> Point:
    return points[int(belief.risks(points).argmin())]


def _near(one: Point, other: Point) -> bool:
    return abs(one.decades - other.decades) < STEP / 4


def _among(point: Point, tried: Sequence[Point]) -> bool:
    return any(_near(point, other) and point.halvings == other.halvings for other in tried)
