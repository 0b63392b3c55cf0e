"""Keeps a search to its promise: times its trials, and says what still has room."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from tsplanner.planner.plan import LearningSettings
from tsplanner.training.job import Record, record_file
from tsplanner.tune.budget.schedule import (
    LATE,
    Costs,
    Schedule,
    pairs_for,
    room_for_pairs,
    room_for_trial,
    schedule,
    searched_at_most,
)
from tsplanner.tune.confirmation import Decision, last_word, untried
from tsplanner.tune.runner.monitor import View
from tsplanner.tune.runner.runner import Search
from tsplanner.tune.study.study import Result, Study
from tsplanner.tune.study.trial_result import TrialState

NOTABLE = 0.03
"""Of the promise: less than that is no news."""


class Clock:
    """One budget. Called from the search's threads; ``now`` stands in for the clock."""

    def __init__(
        self,
        costs: Costs,
        budget_seconds: float,
        most_trials: int,
        *,
        trials_folder: Path,
        began: float,
        renew: bool,
        told: Callable[[Schedule, Costs], None] = lambda schedule, costs: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """``renew``: the costs are a forecast, so the first trial renews the promise in any case;
        else only if the machine is faster or slower than it was.

        ``told`` hears of that. ``began`` is the moment, by ``now``, that the budget counts from.
        """
        self.costs, self.budget, self.most = costs, budget_seconds, most_trials
        self.folder, self.began, self.now = trials_folder, began, now
        self.inside: Callable[[Path], float | None] = inside_seconds
        """What a trial's own clock showed."""
        self.schedule = schedule(costs, budget_seconds, most_trials)
        self.first_promise = self.schedule.seconds
        self.searching = True
        """Not in the last word."""
        self.fresh: int | None = None
        """Trials on fresh seeds, once there was a last word and the search goes on."""
        self.startup_seconds: float | None = None
        """Until the first trial began to load, once that is known."""
        self._always, self._told, self._first = renew, told, True
        self._starts: dict[int, float] = {}
        self._firsts: set[int] = set()
        self._inside: list[float] = []
        self._overheads: list[float] = []
        self._lock = threading.Lock()

    @property
    def promised(self) -> float:
        """Seconds of the whole command, as last told."""
        return self.schedule.seconds

    def took(self) -> float:
        """Seconds since the budget began."""
        return self.now() - self.began

    def left(self) -> float:
        """Seconds until what is planned has to give way."""
        return min(self.budget, LATE * self.promised) - self.took()

    def wanted(self, started: int) -> int:
        """Trials that the search should want in all, if so many were started."""
        with self._lock:
            pairs, most = pairs_for(started + 1, self.most), searched_at_most(self.most)
            pairs = pairs if self.schedule.pairs else 0
            if self.fresh is not None:  # what the first last word left over
                pairs, most = min(1, pairs), self.most - self.fresh - 2
            room = room_for_trial(self.costs, self.left(), pairs)
            return most if self.searching and room and started < most else started

    def another_pair(self, pairs: int) -> bool:
        """Whether so many pairs of the last word may start."""
        return room_for_pairs(self.costs, self.left(), pairs)

    def started(self, number: int) -> None:
        """A trial has begun."""
        with self._lock:
            if len(self._starts) < self.costs.places:
                self._firsts.add(number)
            self._starts[number] = self.now()

    def ended(self, result: Result) -> None:
        """A trial is over: what it took tells what the others will take."""
        with self._lock:
            if result.state is not TrialState.COMPLETED or result.number not in self._starts:
                return
            self._learn(result.number, self.now())
            if self._first:
                self._first = False
                self._renew()

    def _renew(self) -> None:
        """The promise by what the first trial took, told if that changes it."""
        renewed, begun = schedule(self.costs, self.budget, self.most), len(self._starts)
        if renewed.searched < begun:  # so slow that these would not have been begun
            whole = self.took() + self.costs.full_seconds
            renewed = Schedule(searched=begun, pairs=0, seconds=whole)
        if self._always or abs(renewed.seconds / self.promised - 1) > NOTABLE:
            self.schedule = renewed
            self._told(renewed, self.costs)

    def _learn(self, number: int, ended: float) -> None:
        wall = ended - self._starts[number]
        inside = min(wall, self.inside(self.folder / str(number)) or wall)
        self._inside.append(inside)
        overhead = self.costs.overhead_seconds
        if number in self._firsts:  # these waited for the imports
            startup = max(0.0, ended - inside - overhead - self.began)
            known = self.startup_seconds
            self.startup_seconds = startup if known is None else min(known, startup)
            self.costs = replace(self.costs, startup_seconds=self.startup_seconds)
        else:
            self._overheads.append(wall - inside)
            overhead = statistics.fmean(self._overheads)
        self.costs = self.costs.measured(statistics.fmean(self._inside), overhead)

    def decide(self, study: Study, search: Search) -> Decision | None:
        """Search and last word within the budget; None if no trial finished.

        A last word that needs less time than was kept for it leaves the rest to further trials;
        what it has proven stays, unless other settings are proven on fresh seeds after it.
        """
        if not self.schedule.searched:
            return untried(study.where.default)
        search.rethink = lambda: study.rethink(self.wanted)
        known, proven = -1, None
        while True:
            self.searching = True
            # How many there are says `wanted`; this is how many share a pack.
            search.run(max(1, self.schedule.searched - self._searched(study.results())))
            self.searching = False
            results = study.results()
            decision = last_word(
                study, search, pairs_for(self._searched(results), self.most), self.another_pair
            )
            if decision is not None and not decision.is_default and decision.fresh_seeds:
                proven = decision
            if decision is None or known == self._searched(results):
                return proven or decision
            known = self._searched(results)
            self.fresh = sum(one.seed is not None for one in study.results())

    def _searched(self, results: list[Result]) -> int:
        return sum(one.seed is None and one.state is not TrialState.REJECTED for one in results)


def inside_seconds(folder: Path) -> float | None:
    """Load and training of a trial by its own clock; None if it left no record."""
    with contextlib.suppress(OSError, msgspec.DecodeError):
        record = msgspec.json.decode(record_file(folder, 0).read_bytes(), type=Record)
        return (record.load_seconds or 0.0) + record.seconds
    return None


class TimedView:
    """A view that lets a clock hear what it is told."""

    def __init__(self, view: View, clock: Clock) -> None:
        self._view, self._clock = view, clock

    def started(self, number: int, learning: LearningSettings) -> None:
        """A trial has begun."""
        self._clock.started(number)
        self._view.started(number, learning)

    def progressed(self, number: int, progress: float, eval_loss: float | None) -> None:
        """A trial moved on."""
        self._view.progressed(number, progress, eval_loss)

    def given_back(self, number: int, message: str) -> None:
        """A trial waits to be run again."""
        self._view.given_back(number, message)

    def ended(self, result: Result) -> None:
        """A trial is over."""
        self._clock.ended(result)
        self._view.ended(result)
