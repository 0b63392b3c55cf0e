"""When a trial is hopeless: compared at the same step with its rivals, row by row. Pure.

Successive halving, sized for the trials that there really are: at a third of a run half of them may
go on, at two thirds a quarter. But a place is not enough to be stopped by, for neighbours differ by
noise: a trial stops if as many rivals as may go on are *clearly* better, or if it cannot catch up
with one that has finished. So it does not matter in which order trials arrive.
Figures: benchmarks/tune/early_stops.py.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tsplanner.tune.search.paired_eval import Rows, mean_loss, paired_difference

RUNGS = ((1 / 3, 1 / 2), (2 / 3, 1 / 4))
"""Share of a run at which trials are judged, and share of the trials that may go on."""
FEWEST_KEPT = 2
"""Trials that may go on in any case: with one alone the best of three or four was lost in 1 to 3 %
of the draws from those curves, by up to 0.005 nats."""
CLEARLY = 2.0
"""Standard errors that a trial must be behind. On the curves of two models and three seeds 1, 2 and
3 lost nothing, and places alone (0) 0.001 nats; 2 leaves 8, 4.6 and 4.2 trials at work where 3
leaves 8, 5.5 and 5.3."""
CATCH_UP = 0.5
"""Share of what a rival still gained after a step that a trial may make good."""
EARLY = 1e-6
"""Marks stand on whole steps: a share of a run may come out a little low."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What a trial has shown so far."""

    marks: Mapping[int, Rows]
    """Held-out losses row by row, by optimizer step."""
    final: float | None = None
    """Its lowest held-out loss, once it has finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """Why a trial stops."""

    rival: int
    """Number of the best trial at that step."""
    difference: float
    error: float
    """Standard error of the difference over the held-out rows."""
    step: int = 0
    """Optimizer step at which it was judged; 0 where an earlier version did not note it."""


def hopeless(
    courses: Mapping[int, Course], at_work: Collection[int], trials: int, last: int
) -> dict[int, Behind]:
    """Which of the trials ``at_work`` should stop now, and how far behind they are.

    ``trials``: of the whole search; ``last``: steps of a run. Each is judged at its newest mark.
    """
    found = {number: _judged(number, courses, trials, last) for number in sorted(at_work)}
    return {number: behind for number, behind in found.items() if behind is not None}


def _judged(number: int, courses: Mapping[int, Course], trials: int, last: int) -> Behind | None:
    marks = courses[number].marks
    step = max(marks, default=0)
    kept = _kept(step / last, trials)
    if kept is None or step >= last:
        return None
    better: dict[int, Behind] = {}
    for rival, course in courses.items():
        compared = (
            paired_difference(marks[step], course.marks.get(step, [])) if rival != number else None
        )
        if compared is not None and compared[0] > CLEARLY * compared[1]:
            better[rival] = Behind(
                rival=rival, difference=compared[0], error=compared[1], step=step
            )
    if not better:
        return None
    best = min(better, key=lambda rival: mean_loss(courses[rival].marks[step]))
    lost = len(better) >= kept or _too_far(better[best], courses[best])
    return better[best] if lost else None


def _kept(share: float, trials: int) -> int | None:
    """How many trials may go on from here; None before the first rung."""
    passed = [kept for rung, kept in RUNGS if share >= rung - EARLY]
    return max(FEWEST_KEPT, math.ceil(trials * passed[-1])) if passed else None


def _too_far(behind: Behind, rival: Course) -> bool:
    """Whether a trial cannot catch up with a rival that has finished."""
    if rival.final is None:
        return False
    gained = max(0.0, mean_loss(rival.marks[behind.step]) - rival.final)
    return behind.difference > CATCH_UP * gained
