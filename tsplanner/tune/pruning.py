"""When a trial is hopeless: compared with the best rival at the same step, row by row. Pure.

Successive halving as it is taught keeps a share at each rung and wants many more trials than
eight. Here a trial at a rung stops if it is clearly behind and either cannot catch up with a rival
that has finished, or is not among the better ones of those that got there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tsplanner.tune.rows import Rows, mean_loss, paired_difference

FIRST_RUNG, SECOND_RUNG = 1 / 3, 2 / 3
"""Shares of a run at which it is judged: the first third tells little, warm-up is part of it."""
CLEARLY = 3.0
"""Standard errors that a trial must be behind."""
CATCH_UP = 0.5
"""Share of what the rival still gained after this step that a trial may make good."""
KEPT = 3
"""One in so many goes on past the second rung if no rival has finished."""


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
    """Number of the trial it is behind."""
    difference: float
    error: float
    """Standard error of the difference over the held-out rows."""


def hopeless(step: int, progress: float, rows: Rows, rivals: Mapping[int, Course]) -> Behind | None:
    """How far behind a trial is that should stop at this step; None: let it go on."""
    if not FIRST_RUNG - 1e-6 <= progress < 1:
        return None
    there = {number: one for number, one in rivals.items() if step in one.marks}
    if not there:
        return None
    best = min(there, key=lambda number: mean_loss(there[number].marks[step]))
    compared = paired_difference(rows, there[best].marks[step])
    if compared is None:
        return None
    difference, error = compared
    if difference <= CLEARLY * error:
        return None
    behind = Behind(rival=best, difference=difference, error=error)
    return behind if _lost(step, progress, difference, rows, there, best) else None


def _lost(
    step: int,
    progress: float,
    difference: float,
    rows: Rows,
    there: Mapping[int, Course],
    best: int,
) -> bool:
    """Whether being clearly behind is the end."""
    final = there[best].final
    if final is not None:
        return difference > CATCH_UP * max(0.0, mean_loss(there[best].marks[step]) - final)
    if progress < SECOND_RUNG - 1e-6:
        return False
    better = sum(mean_loss(one.marks[step]) < mean_loss(rows) for one in there.values())
    return better >= math.ceil((len(there) + 1) / KEPT)
