"""The events of a search, and who may listen to them."""

from __future__ import annotations

from typing import Protocol

from tsplanner.planner.settings import LearningSettings
from tsplanner.tune.study.trial_result import Result


class SearchListener(Protocol):
    """Hears what happens in a search. Called from several threads, one at a time."""

    def started(self, number: int, learning: LearningSettings) -> None:
        """A trial has begun."""

    def progressed(self, number: int, progress: float, eval_loss: float | None) -> None:
        """A share ``progress`` (0 to 1) of a trial is done; its newest evaluation, if any."""

    def ended(self, result: Result) -> None:
        """A trial has ended, here or in another process."""

    def released(self, number: int, message: str) -> None:
        """A trial ended by an accident and waits to be run again under another number."""
