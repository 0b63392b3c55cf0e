"""How trials ended, and what the end of a trial says of its settings."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any

from memory_models.frozen import frozen
from tsplanner.planner.settings import LearningSettings
from tsplanner.tune.search.early_stopping import Deficit

UNKNOWN_SHARE = 0.5
"""Share of a pruned trial's deficit that may still have changed: one standard deviation."""
LEAST_DIVERGED_SPREAD = 0.1
"""A diverged trial counts as worse than the worst loss by at least this share of that loss."""


class TrialState(StrEnum):
    """How a trial ended."""

    COMPLETED = "completed"
    PRUNED = "pruned"
    """Early stopping ended the trial."""
    FAILED = "failed"
    REJECTED = "rejected"
    """The trial was never started, because its memory does not fit."""


OPTUNA_STATES = {
    TrialState.COMPLETED: "COMPLETE",
    TrialState.PRUNED: "PRUNED",
    TrialState.FAILED: "FAIL",
    TrialState.REJECTED: "PRUNED",
}
"""Optuna's name of each state."""
EARLIER_WORDS = {
    "done": TrialState.COMPLETED,
    "stopped": TrialState.PRUNED,
    "not started": TrialState.REJECTED,
}
"""States as an earlier version wrote them into studies of the same format."""


def state_of(word: str) -> TrialState:
    """The state that a word in a study stands for; raises ValueError for an unknown word."""
    return EARLIER_WORDS.get(word) or TrialState(word)


def is_diverged(word: str, optuna_state: str) -> bool:
    """Whether a stored trial diverged: a failed trial that Optuna was told as pruned."""
    return state_of(word) is TrialState.FAILED and optuna_state == "PRUNED"


@frozen
class Result:
    """One trial that has ended."""

    number: int
    learning: LearningSettings
    state: TrialState
    eval_loss: float | None
    """Lowest held-out loss that the trial reached, nats per token."""
    message: str
    """A sentence for a person; empty for a trial that completed."""
    seed: int | None = None
    """Fresh seed of a trial of the confirmation; None: a trial of the search."""
    deficit: Deficit | None = None
    """How far a pruned trial was behind a rival."""
    diverged: bool = False
    """The trial failed because its training loss became NaN or infinite."""

    @property
    def optuna_state(self) -> str:
        """Optuna's name of how the trial ended; the settings are at fault if the loss diverged."""
        return "PRUNED" if self.diverged else OPTUNA_STATES[self.state]


def stored_deficit(value: Any) -> Deficit | None:
    """A deficit as studies store it: a mapping, or three numbers of an earlier version."""
    if value is None:
        return None
    if isinstance(value, dict):
        return Deficit(**value)
    return Deficit(rival=int(value[0]), difference=float(value[1]), error=float(value[2]))


def observed_loss(one: Result, final: dict[int, float | None]) -> tuple[float, float] | None:
    """Loss that a trial of the search reached, or would have reached, and the error of that loss.

    ``final`` has the losses of completed trials, by number. None: the trial says nothing.
    """
    if one.state is TrialState.COMPLETED and one.eval_loss is not None:
        return one.eval_loss, 0.0
    if one.deficit is not None:
        reached = final.get(one.deficit.rival)
        # A rival that never completed has no final loss that the deficit could be added to.
        if reached is None:
            return None
        difference = one.deficit.difference
        return reached + difference, math.hypot(one.deficit.error, UNKNOWN_SHARE * difference)
    losses = [loss for loss in final.values() if loss is not None]
    if one.diverged and losses:
        # There is no loss at all, so it counts as worse than all others by more than they differ.
        worst = max(losses)
        spread = max(LEAST_DIVERGED_SPREAD * abs(worst), worst - min(losses))
        return worst + spread, spread
    return None
