"""Which trials to prune: a trial is compared with its rivals at the same step. Pure functions.

The rule is successive halving, sized for the few trials that there really are: at a third of a run
half of the trials may go on, at two thirds a quarter. A place in the ranking is not enough to prune
a trial, for neighbours differ by noise: a trial stops if at least that number of rivals is
*clearly* better, or if the trial cannot catch up with one that has finished. So the order in which
trials arrive does not matter. Figures: benchmarks/tune/early_stops.py.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from memory_models.frozen import frozen
from tsplanner.tune.search.paired_eval import PerExampleLosses, mean_loss, paired_difference

RUNGS = ((1 / 3, 1 / 2), (2 / 3, 1 / 4))
"""Share of a run at which trials are judged, and share of the trials that may go on."""
MIN_KEPT = 2
"""Trials that may go on in any case: with one alone the best of three or four was lost in 1 to 3 %
of the draws from those curves, by up to 0.005 nats."""
CLEARLY = 2.0
"""Standard errors that a trial must be behind. On the curves of two models and three seeds 1, 2 and
3 lost nothing, and places alone (0) 0.001 nats; 2 leaves 8, 4.6 and 4.2 trials at work where 3
leaves 8, 5.5 and 5.3."""
CATCH_UP = 0.5
"""Share of what a rival still gained after a step that a trial may make good."""
ROUNDING = 1e-6
"""Evaluations stand on whole steps: a share of a run may come out a little low."""


@frozen
class LearningCurve:
    """The evaluations of a trial."""

    checkpoints: Mapping[int, PerExampleLosses]
    """Held-out losses per example, by optimizer step."""
    final: float | None = None
    """Lowest held-out loss of a trial that has finished, nats per token."""


@frozen
class Deficit:
    """How far a trial was behind a rival at one step."""

    rival: int
    """Number of the best trial at that step."""
    difference: float
    """Held-out loss minus that of the rival, nats per token."""
    error: float
    """Standard error of the difference over the held-out examples."""
    step: int = 0
    """Optimizer step at which the trial was judged; 0 where an earlier version did not note it."""


def losers(
    curves: Mapping[int, LearningCurve], at_work: Collection[int], trials: int, last: int
) -> dict[int, Deficit]:
    """The trials ``at_work`` that should stop now, and how far behind each of them is.

    ``trials`` counts the whole search, ``last`` is the last step of a run. Each trial is judged at
    its newest evaluation.
    """
    found = {number: _judged(number, curves, trials, last) for number in sorted(at_work)}
    return {number: deficit for number, deficit in found.items() if deficit is not None}


def _judged(
    number: int, curves: Mapping[int, LearningCurve], trials: int, last: int
) -> Deficit | None:
    own = curves[number].checkpoints
    step = max(own, default=0)
    kept = _kept(step / last, trials)
    # A stop at the last step would save nothing.
    if kept is None or step >= last:
        return None
    better = {
        rival: deficit
        for rival, curve in curves.items()
        if rival != number and (deficit := _clear_deficit(own[step], rival, curve, step))
    }
    if not better:
        return None
    best = min(better, key=lambda rival: mean_loss(curves[rival].checkpoints[step]))
    lost = len(better) >= kept or _too_far(better[best], curves[best])
    return better[best] if lost else None


def _clear_deficit(
    own: PerExampleLosses, rival: int, curve: LearningCurve, step: int
) -> Deficit | None:
    """The deficit against one rival; None if it is not clear or cannot be told."""
    compared = paired_difference(own, curve.checkpoints.get(step, []))
    if compared is not None and compared[0] > CLEARLY * compared[1]:
        return Deficit(rival=rival, difference=compared[0], error=compared[1], step=step)
    return None


def _kept(share: float, trials: int) -> int | None:
    """Number of trials that may go on from here; None before the first rung."""
    passed = [kept for rung, kept in RUNGS if share >= rung - ROUNDING]
    return max(MIN_KEPT, math.ceil(trials * passed[-1])) if passed else None


def _too_far(deficit: Deficit, rival: LearningCurve) -> bool:
    """Whether a trial cannot catch up with a rival that has finished."""
    if rival.final is None:
        return False
    gained = max(0.0, mean_loss(rival.checkpoints[deficit.step]) - rival.final)
    return deficit.difference > CATCH_UP * gained
