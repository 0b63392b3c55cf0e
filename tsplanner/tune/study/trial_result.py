"""How trials ended, and what that says of their settings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tsplanner.planner.settings import LearningSettings
from tsplanner.training.job import DIVERGED

UNKNOWN_SHARE = 0.5
"""Of what a stopped trial was behind may still have changed: one standard deviation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One trial that has ended."""

    number: int
    learning: LearningSettings
    state: str
    """``done``, ``stopped`` (pruned), ``not started`` (memory) or ``failed``."""
    eval_loss: float | None
    """The lowest held-out loss it reached."""
    message: str
    seed: int | None = None
    """Of a trial of the last word; None: a trial of the search."""
    behind: tuple[int, float, float] | None = None
    """Of a stopped trial: the rival, and how far behind it was, with the standard error."""

    @property
    def ends_as(self) -> str:
        """Optuna's state for it."""
        if self.state == "done" and self.eval_loss is not None:
            return "COMPLETE"
        return "FAIL" if self.state == "failed" and DIVERGED not in self.message else "PRUNED"


def triple(value: Any) -> tuple[int, float, float] | None:
    """What was stored of ``Result.behind``."""
    return None if value is None else (int(value[0]), float(value[1]), float(value[2]))


def told_loss(one: Result, final: dict[int, float | None]) -> tuple[float, float] | None:
    """Loss that a trial of the search reached, or would have, and the error of that."""
    if one.state == "done" and one.eval_loss is not None:
        return one.eval_loss, 0.0
    if one.behind is not None:
        rival, difference, error = one.behind
        reached = final.get(rival)
        if reached is None:
            return None
        return reached + difference, math.hypot(error, UNKNOWN_SHARE * difference)
    losses = [loss for loss in final.values() if loss is not None]
    if one.state == "failed" and DIVERGED in one.message and losses:
        # No loss at all, so worse than all others by more than they differ.
        spread = max(0.1 * abs(max(losses)), max(losses) - min(losses))
        return max(losses) + spread, spread
    return None
