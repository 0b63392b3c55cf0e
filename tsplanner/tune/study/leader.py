"""Who leads a study, and how many trials its workers are to run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from threading import Event
from typing import Any, Self

from tsplanner.tune.study.queue import OVER, TOTAL, WANTED, WORKER, Takes, started
from tsplanner.tune.study.trial_result import Result, TrialState


class Leading(ABC):
    """The part of a study that is about its workers."""

    _study: Any
    _takes: Takes
    stop: Event

    @abstractmethod
    def results(self) -> list[Result]:
        """Every trial that was told, by number."""

    def recover(self) -> int:
        """Lead the study, and queue again what was in flight with workers that are gone; how many.

        Raises TsplannerError if another process leads it.
        """
        self._takes.await_leader()
        return self._takes.steadily(self._takes.lead)

    @property
    def leader(self) -> str | None:
        """The worker that decides in the end; None: it is gone."""
        return self._takes.steadily(self._takes.leader)

    @property
    def name(self) -> str:
        """This process as a worker: host and process id."""
        return self._takes.crew.me.name

    @property
    def over(self) -> bool:
        """Whether the leader has decided, and wants no more trials."""
        return bool(self._takes.steadily(lambda: self._study.user_attrs.get(OVER)))

    def finish(self) -> None:
        """The leader has decided."""
        self._takes.steadily(lambda: self._study.set_user_attr(OVER, True))

    def run_here(self) -> list[int]:
        """Numbers of the trials that ended in this process."""
        mine = {
            trial.number
            for trial in self._takes.steadily(self._takes.trials)
            if trial.user_attrs.get(WORKER) == self.name
        }
        return [one.number for one in self.results() if one.number in mine]

    def __enter__(self) -> Self:
        """Work on it."""
        return self

    def __exit__(self, *_: object) -> None:
        """This process takes no more trials; what it has in flight is the others'. Never raises."""
        self.stop.set()
        self._takes.crew.leave()

    def total(self, trials: int, *, given: bool) -> int:
        """Trials of the search and the last word together: as ``given`` now, else as noted."""

        def note() -> int:
            known = self._study.user_attrs.get(TOTAL)
            if known is not None and not given:
                return int(known)
            self._study.set_user_attr(TOTAL, trials)
            return trials

        return self._takes.steadily(note)

    def want(self, trials: int) -> None:
        """So many more trials of the search than have ended, of all workers together."""

        def note() -> None:
            told = [
                one
                for one in self.results()
                if one.seed is None and one.state is not TrialState.REJECTED
            ]
            self._study.set_user_attr(WANTED, len(told) + trials)

        self._takes.steadily(note)

    @property
    def wanted(self) -> int:
        """Trials of the search that are wanted of all workers together."""
        return int(self._takes.steadily(lambda: self._study.user_attrs.get(WANTED, 0)))

    def rethink(self, wanted: Callable[[int], int]) -> None:
        """Let the number of the search's trials follow from how many were started."""

        def note() -> None:
            number = wanted(len(started(self._takes.trials())))
            if number != self._study.user_attrs.get(WANTED):
                self._study.set_user_attr(WANTED, number)

        self._takes.steadily(note)
